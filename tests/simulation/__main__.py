"""`make simulate`: plays seeds and prints how fast, what met, and where the first failure is."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from typing import TYPE_CHECKING

import structlog

from tests.simulation.run import MEETINGS, STEPS, simulation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def main(arguments: Sequence[str]) -> int:
    """Play the seeds; 1 if one fails."""
    chosen = _parser().parse_args(arguments)
    # The server says much about what the simulation does to it.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    seeds = range(chosen.first, chosen.first + chosen.seeds) if chosen.seed is None else (chosen.seed,)
    started, count, failure = time.perf_counter(), 0, None
    with simulation() as simulated:
        for seed in seeds:
            count += 1
            failure = simulated.run(seed, steps=chosen.steps)
            if failure is not None:
                break
            if count % 100 == 0:
                sys.stderr.write(f"{count} seeds, {time.perf_counter() - started:.0f} s\n")
        took = time.perf_counter() - started
        _write(_report(simulated.meetings, count=count, took=took))
    if failure is not None:
        _write(str(failure))
    return int(failure is not None)


def _report(meetings: Mapping[str, int], *, count: int, took: float) -> str:
    lines = [f"{meetings.get(name, 0):>9,}  {name}" for name in sorted({*MEETINGS, *meetings})]
    return "\n".join([*lines, f"{count} seeds in {took:.1f} s, {count / took:.1f} a second"])


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="play this one alone")
    parser.add_argument("--steps", type=int, default=STEPS, help="the acts of one seed")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
