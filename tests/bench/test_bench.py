"""The smallest measurement, so that the program is known to work before somebody needs a figure."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.bench import __main__ as program
from tests.bench import chain, settlement
from tests.bench.deployment import free_ports
from tests.bench.figure import Figure
from tests.bench.load import AnswerWrong, closed_loop
from tests.bench.upstream import Answerer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("stream", [False, True])
async def test_the_client_gets_whole_answers_from_the_upstream(*, stream: bool) -> None:
    (port,) = free_ports(1)
    server = await asyncio.get_running_loop().create_server(Answerer, "127.0.0.1", port)
    async with server:
        run = await closed_loop(port, chain.request(stream=stream), concurrency=2, seconds=0.05)
    assert run.answers >= 2
    assert run.per_second == pytest.approx(run.answers / run.elapsed_s)


async def test_an_answer_that_is_no_success_ends_the_measurement() -> None:
    class Refuser(Answerer):
        _plain = b"HTTP/1.1 402 Payment Required\r\nContent-Length: 2\r\n\r\nno"

    (port,) = free_ports(1)
    server = await asyncio.get_running_loop().create_server(Refuser, "127.0.0.1", port)
    async with server:
        with pytest.raises(AnswerWrong, match="402"):
            await closed_loop(port, chain.request(stream=False), concurrency=1, seconds=0.05)


def test_settlement_is_measured_on_batches_that_are_charged(tmp_path: Path) -> None:
    with settlement.bench(tmp_path, "SQLite", leased=False) as run:
        took = run()
    assert took.cpu_s > 0
    assert took.elapsed_s > 0


def test_figures_are_written_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(_folder: Path, seconds: float) -> list[Figure]:
        return [Figure("what", seconds, "s", ratio=0.5, against="another")]

    monkeypatch.setattr(program, "_MEASUREMENTS", {"latency": ("A title", measure)})
    program.main(["--only", "latency", "--seconds", "2", "--json", str(tmp_path / "figures.json")])
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["latency"][0] | {"bar": "", "note": ""} == {
        "what": "what", "value": 2.0, "unit": "s", "ratio": 0.5, "against": "another", "bar": "", "note": "",
    }  # fmt: skip
