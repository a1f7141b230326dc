"""What one REST process carries, beside a bare application of the same stack and gRPC itself.

The ways are asked in turns, several rounds, and compared within a round, because the machine is shared.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import httpx
import orjson
import uvloop

from om.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.cli.demo import DEVELOPMENT_KEY
from tests.bench import sample
from tests.bench.deployment import Deployment, free_ports, prepared
from tests.bench.figure import Figure
from tests.bench.load import closed_loop, connected
from tests.bench.process import Program, answers_http, fleet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from pathlib import Path

    from tests.bench.load import Connection
    from tests.bench.process import Fleet

_READS = ("/v1/credits/balance", "/v1/events", "/api/v1/wallets")
_CONCURRENCY = 32
_ROUNDS = 5
_WARM_UP_S = 0.3
_READS_BAR, _INGEST_BAR = ">= 600", ">= 10,000"

_BATCH = 1000
_IN_FLIGHT = 4
_WARM_UP_BATCHES = 6
_CREDENTIAL = (("authorization", f"Bearer {DEVELOPMENT_KEY}"),)

_POLL_S = 0.02

_REST, _BARE, _GRPC = "rest", "bare", "grpc"
_AGAINST = {_BARE: "bare", _GRPC: "GetWallet"}


@dataclass(frozen=True, slots=True)
class _Turn:
    """Answers a second, and the milliseconds of processor that the process took for each."""

    per_second: float
    process_ms: float = 0.0


def reads(folder: Path, seconds: float) -> list[Figure]:
    """Small reads on SQLite, with 100 settled events."""
    with prepared(folder, "sqlite") as deployed:
        rest, bare = free_ports(2)
        programs = (deployed.server("om_server", "serve", "rpc"), _rest(deployed, rest), _bare_program(bare))
        with fleet(deployed.folder / "logs", *programs) as running:
            rounds = uvloop.run(_rounds(running, deployed.grpc_target, (rest, bare), seconds=seconds))
    return _read_figures(rounds)


def ingest(folder: Path, seconds: float) -> list[Figure]:
    """Batches of 1,000 events to the durable queue on SQLite; settlement does not run meanwhile."""
    with prepared(folder, "sqlite") as deployed:
        (rest,) = free_ports(1)
        programs = (deployed.server("tests.bench.intake_server"), _rest(deployed, rest))
        with fleet(deployed.folder / "logs", *programs) as running:
            by_rest, by_grpc = uvloop.run(_intake(running, deployed.grpc_target, rest, seconds=seconds))
    return [
        Figure(
            "over REST",
            by_rest.per_second,
            "events/s",
            by_rest.per_second / by_grpc.per_second,
            "gRPC",
            bar=_INGEST_BAR,
            note=f"batches of {_BATCH:,}, {_IN_FLIGHT} at a time",
        ),
        Figure("over gRPC", by_grpc.per_second, "events/s", note="of the same size"),
        Figure("processor time: REST", by_rest.process_ms, "ms/batch"),
    ]


def _rest(deployed: Deployment, port: int) -> Program:
    others = free_ports(2)
    environment = {
        "OM_ENV": "development",
        "OM_DATA_DIR": str(deployed.folder),
        "OM_GRPC_ADDRESS": deployed.grpc_target,
        "OM_HOST": "127.0.0.1",
        "OM_REST_PORT": str(port),
        "OM_INGEST_PORT": str(others[0]),
        "OM_RATING_PORT": str(others[1]),
    }
    ready = f"http://127.0.0.1:{port}/ready"
    return Program(_REST, ("om_server", "serve", "rest"), environment, lambda: answers_http(ready))


def _bare_program(port: int) -> Program:
    ready = f"http://127.0.0.1:{port}/"
    return Program(_BARE, ("tests.bench.bare_rest", str(port)), {}, lambda: answers_http(ready))


async def _rounds(
    running: Fleet, grpc_target: str, ports: tuple[int, int], *, seconds: float
) -> list[dict[str, _Turn]]:
    rest, bare = ports
    await _fill(rest)
    async with grpc.aio.insecure_channel(grpc_target) as channel:
        ways = _ways(running, channel, rest, bare=bare)
        for turn in ways.values():
            await turn(_WARM_UP_S)
        each = seconds / _ROUNDS
        return [{name: await turn(each) for name, turn in ways.items()} for _ in range(_ROUNDS)]


def _ways(
    running: Fleet, channel: grpc.aio.Channel, rest: int, *, bare: int
) -> dict[str, Callable[[float], Awaitable[_Turn]]]:
    def http(name: str, port: int, path: str) -> Callable[[float], Awaitable[_Turn]]:
        async def turn(seconds: float) -> _Turn:
            before = running.cpu_s(name)
            run = await closed_loop(port, _get(path), concurrency=_CONCURRENCY, seconds=seconds)
            return _Turn(run.per_second, (running.cpu_s(name) - before) * 1000 / run.answers)

        return turn

    async def direct(seconds: float) -> _Turn:
        return _Turn(await _grpc_speed(channel, seconds))

    return {_BARE: http(_BARE, bare, "/"), _GRPC: direct} | {path: http(_REST, rest, path) for path in _READS}


async def _grpc_speed(channel: grpc.aio.Channel, seconds: float) -> float:
    """GetWallet calls a second, which is what the first of the reads asks."""
    call: grpc.aio.UnaryUnaryMultiCallable[wallet_pb.GetWalletRequest, wallet_pb.GetWalletResponse]
    call = channel.unary_unary(
        "/om.wallet.v1.WalletService/GetWallet",
        request_serializer=wallet_pb.GetWalletRequest.SerializeToString,
        response_deserializer=wallet_pb.GetWalletResponse.FromString,
    )
    started = time.perf_counter()

    async def repeat() -> int:
        count = 0
        while time.perf_counter() < started + seconds:
            await call(wallet_pb.GetWalletRequest(), metadata=_CREDENTIAL)
            count += 1
        return count

    counts = await asyncio.gather(*(repeat() for _ in range(_CONCURRENCY)))
    return sum(counts) / (time.perf_counter() - started)


async def _fill(port: int) -> None:
    """Report 100 events and wait until they are settled, so that lists have something to show."""
    headers = {"Authorization": f"Bearer {DEVELOPMENT_KEY}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as web:
        answer = await web.post("/v1/events/ingest", content=_batch("first", 100))
        if answer.json()["accepted"] != 100:
            raise RuntimeError(answer.text)
        while (await web.get("/v1/events")).json()["pagination"]["total"] < 100:  # noqa: ASYNC110 - Another process settles.
            await asyncio.sleep(_POLL_S)


def _read_figures(rounds: list[dict[str, _Turn]]) -> list[Figure]:
    def median(value: Callable[[dict[str, _Turn]], float]) -> float:
        return statistics.median(value(item) for item in rounds)

    def figure(what: str, name: str, *, against: str = _BARE, bar: str = "") -> Figure:
        ratio = median(lambda item: item[name].per_second / item[against].per_second)
        speed = median(lambda item: item[name].per_second)
        took = median(lambda item: item[name].process_ms)
        note = f"{took:.2f} ms of processor each" if took else ""
        return Figure(what, speed, "requests/s", ratio, _AGAINST[against], bar=bar, note=note)

    shown = [figure("uvicorn and starlette, bare", _BARE), figure("GetWallet over gRPC", _GRPC)]
    shown += [figure(f"GET {path}", path, against=_GRPC, bar=_READS_BAR) for path in _READS]
    return shown


async def _intake(running: Fleet, grpc_target: str, port: int, *, seconds: float) -> tuple[_Turn, _Turn]:
    """Over REST and over gRPC, in turns."""
    by_rest: list[_Turn] = []
    by_grpc: list[_Turn] = []
    await _check_intake(port)
    async with grpc.aio.insecure_channel(grpc_target) as channel, connected(port, _IN_FLIGHT) as open_ones:
        warm = await _by_rest(open_ones, [_post(f"warm-{n}") for n in range(_WARM_UP_BATCHES)])
        count = max(_IN_FLIGHT, int(seconds * warm / _BATCH / _ROUNDS / 2))
        for turn in range(_ROUNDS):
            requests = [_post(f"rest-{turn}-{n}") for n in range(count)]
            before = running.cpu_s(_REST)
            speed = await _by_rest(open_ones, requests)
            by_rest.append(_Turn(speed, (running.cpu_s(_REST) - before) * 1000 / count))
            by_grpc.append(
                _Turn(await _by_grpc(channel, [_message(f"grpc-{turn}-{n}") for n in range(count)]))
            )
    return _middle(by_rest), _middle(by_grpc)


def _middle(turns: list[_Turn]) -> _Turn:
    return sorted(turns, key=lambda turn: turn.per_second)[len(turns) // 2]


async def _check_intake(port: int) -> None:
    """A measurement of refusals would be a wrong figure, and later only the status is looked at."""
    headers = {"Authorization": f"Bearer {DEVELOPMENT_KEY}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as web:
        answer = await web.post("/v1/events/ingest", content=_batch("check", _BATCH))
    if answer.json()["accepted"] != _BATCH:
        raise RuntimeError(answer.text)


async def _by_rest(connections: list[Connection], requests: list[bytes]) -> float:
    queue = iter(requests)

    async def send(connection: Connection) -> None:
        for request in queue:
            await connection.ask(request)

    return await _timed(len(requests), (send(connection) for connection in connections))


async def _by_grpc(channel: grpc.aio.Channel, messages: list[bytes]) -> float:
    # Bytes go in, so that writing messages does not cost the server its processor.
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, ingestion_pb.IngestEventsResponse]
    call = channel.unary_unary(
        "/om.ingestion.v1.IngestionService/IngestEvents",
        response_deserializer=ingestion_pb.IngestEventsResponse.FromString,
    )
    queue = iter(messages)

    async def send() -> None:
        for message in queue:
            await call(message, metadata=_CREDENTIAL)

    return await _timed(len(messages), (send() for _ in range(_IN_FLIGHT)))


async def _timed(batches: int, senders: Iterable[Awaitable[None]]) -> float:
    """Events a second."""
    started = time.perf_counter()
    await asyncio.gather(*senders)
    return batches * _BATCH / (time.perf_counter() - started)


def _message(label: str) -> bytes:
    events = (sample.message(f"{label}-{index}", index) for index in range(_BATCH))
    return ingestion_pb.IngestEventsRequest(events=events).SerializeToString()


def _batch(label: str, count: int) -> bytes:
    return orjson.dumps({"events": list(_events(label, count))})


def _events(label: str, count: int) -> Iterator[dict[str, object]]:
    """Events as the published SDKs report them."""
    for index in range(count):
        yield {
            "event_id": f"{label}-{index}",
            "customer_id": f"customer_{index % 5}",
            "user_id": f"user_{index % 50}",
            "event_type": "TOKEN_USAGE",
            "feature_id": f"feature_{index % 4}",
            "provider": "OPENAI",
            "model": "gpt-4o-mini",
            "input_tokens": 200 + index,
            "output_tokens": 20 + index % 90,
            "timestamp": "2026-01-05T10:00:00.000Z",
            "metadata": {"session": f"session-{index}"},
        }


def _get(path: str) -> bytes:
    return _request("GET", path, b"")


def _post(label: str) -> bytes:
    return _request("POST", "/v1/events/ingest", _batch(label, _BATCH))


def _request(method: str, path: str, body: bytes) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Accept: application/json",
        "User-Agent: bench",
        f"Authorization: Bearer {DEVELOPMENT_KEY}",
    ]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body
