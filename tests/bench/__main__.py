"""`make bench`: measures, and prints figures with ratios within the run. No figure makes it fail."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from rich.console import Console

from tests.bench import (
    admission,
    aggregation,
    ingestion,
    latency,
    rest,
    settlement,
    streams,
    throughput,
    workers,
)
from tests.bench.figure import Figure, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Measurement = Callable[[Path, float], list[Figure]]

_MEASUREMENTS: Mapping[str, tuple[str, Measurement]] = {
    "throughput": ("Proxy throughput, one worker", throughput.plain),
    "stream-throughput": ("Proxy throughput, one worker, streams", throughput.streaming),
    "workers": ("Proxy throughput, two workers", workers.two),
    "long-stream": ("Streams of 2,000 chunks", streams.long_stream),
    "open-streams": ("Memory of open streams, one worker", streams.open_streams),
    "latency": ("Latency of one call at a time", latency.plain),
    "first-byte": ("Time to the first byte of a stream", latency.first_byte),
    "ingest": ("Intake: gRPC to the durable queue", ingestion.ingest),
    "rest": ("REST reads, one process, SQLite", rest.reads),
    "rest-ingest": ("Intake: REST to the durable queue, SQLite", rest.ingest),
    "lease": ("Admission: a lease is opened and closed, over gRPC", admission.lease),
    "entitlement": ("CheckEntitlement over gRPC", admission.entitlement),
    "aggregation": ("Analytics over a month of 1,000,000 events, PostgreSQL", aggregation.aggregate),
    "settle": ("Settlement, one hot wallet", settlement.settle),
}


def main(arguments: Sequence[str]) -> None:
    """Run the chosen measurements and print one table for each."""
    chosen = _parser().parse_args(arguments)
    # What runs in this process logs as a server does that nobody has told otherwise.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    console = Console(width=None if sys.stdout.isatty() else 140)
    results: dict[str, list[Figure]] = {}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="om-bench-") as folder:
        for name in chosen.only or _MEASUREMENTS:
            title, measure = _MEASUREMENTS[name]
            results[name] = measure(Path(folder), chosen.seconds)
            console.print(table(f"\n{title}  (--only {name})", results[name]))
    console.print(f"\nTook {time.perf_counter() - started:.0f} s. Compare ratios: this machine may be busy.")
    if chosen.json is not None:
        document = {
            name: [dataclasses.asdict(figure) for figure in figures] for name, figures in results.items()
        }
        chosen.json.write_text(json.dumps(document, indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=list(_MEASUREMENTS), help="measure this alone; may be repeated"
    )
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="how long each thing is measured, without preparation"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
