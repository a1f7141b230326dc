"""The stream of changes: resumed where it broke, never silent for long, and heard by whom it concerns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from om.edge.v1 import edge_service_pb2 as edge_pb
from om_proxy.edge.watch import JournalNews, Watch, watched
from om_proxy.server.identity import new_edge
from om_proxy.server.incarnation import Incarnation
from om_proxy.server.server_client import ServerClient
from tests.proxy.bank import WALLET, Bank, Till
from tests.proxy.intents import WHO


class Stream:
    """One stream's messages; None in them breaks it off, and at their end it falls silent."""

    def __init__(self, messages: list[edge_pb.WatchResponse | Exception | None]) -> None:
        self.messages = messages
        self.cancelled = False

    async def read(self) -> object:
        if not self.messages:
            await asyncio.Event().wait()
        message = self.messages.pop(0)
        if isinstance(message, Exception):
            raise message
        return grpc.aio.EOF if message is None else message

    def cancel(self) -> bool:
        self.cancelled = True
        return True


class Server:
    """Gives one stream after the other."""

    def __init__(self, *streams: list[edge_pb.WatchResponse | Exception | None]) -> None:
        self.streams = [Stream(list(messages)) for messages in streams]
        self.opened: list[Stream] = []
        self.cursors: list[str] = []
        self.metadata = grpc.aio.Metadata()
        self.signs = 0
        self.edge = self

    def Watch(self, request: edge_pb.WatchRequest, metadata: object) -> Stream:  # noqa: N802
        del metadata
        self.cursors.append(request.cursor)
        self.opened.append(self.streams[len(self.opened)])
        return self.opened[-1]

    def heard(self) -> None:
        self.signs += 1


def said(cursor: str, **change: Any) -> edge_pb.WatchResponse:
    return edge_pb.WatchResponse(cursor=cursor, incarnation="inc_1", **change)


def away() -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("om_proxy.edge.watch._RETRY_DELAY_S", 0.001)


def listen(server: Server, silence_max_s: float = 5) -> AsyncIterator[edge_pb.WatchResponse]:
    return watched(as_client(server), new_edge(), silence_max_s=silence_max_s)


def as_client(server: Server) -> ServerClient:
    client: Any = server
    assert isinstance(client, Server)
    return client  # type: ignore[return-value]  # It has what a stream needs.


async def take(messages: AsyncIterator[edge_pb.WatchResponse], count: int) -> list[str]:
    found = [(await anext(messages)).cursor for _ in range(count)]
    await messages.aclose()  # type: ignore[attr-defined]  # It is a generator.
    return found


async def test_a_stream_that_ends_or_breaks_is_resumed_behind_what_was_heard() -> None:
    server = Server([said("1"), said("2"), None], [away()], [said("3"), away()], [said("4")])

    assert await take(listen(server), 4) == ["1", "2", "3", "4"]
    assert server.cursors == ["", "2", "2", "3"]
    assert all(stream.cancelled for stream in server.opened)
    assert server.signs == 4


async def test_a_stream_that_falls_silent_is_opened_again() -> None:
    server = Server([said("1")], [said("2")])
    with capture_logs() as logs:
        assert await take(listen(server, silence_max_s=0.01), 2) == ["1", "2"]

    assert [entry["event"] for entry in logs] == ["watch_silent"]
    assert server.cursors == ["", "1"]


async def test_a_change_whose_hearer_fails_is_told_to_the_others_and_the_stream_goes_on() -> None:
    server = Server([said("1"), said("2")])
    heard: list[str] = []
    done = asyncio.Event()

    def fails(message: edge_pb.WatchResponse) -> None:
        raise ValueError(message.cursor)

    def hears(message: edge_pb.WatchResponse) -> None:
        heard.append(message.cursor)
        if len(heard) == 2:
            done.set()

    watch = Watch(as_client(server), new_edge(), incarnation=Incarnation(), hearers=(fails, hears))
    with capture_logs() as logs:
        task = asyncio.create_task(watch.run())
        async with asyncio.timeout(5):
            await done.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert heard == ["1", "2"]
    assert [entry["event"] for entry in logs] == ["change_not_heard"] * 2


async def test_another_store_is_told_before_what_it_says() -> None:
    server = Server([said("1"), edge_pb.WatchResponse(cursor="2", incarnation="inc_2")])
    order: list[str] = []
    done = asyncio.Event()
    incarnation = Incarnation()
    incarnation.on_change(lambda: order.append("changed"))

    def hears(message: edge_pb.WatchResponse) -> None:
        order.append(message.cursor)
        if message.cursor == "2":
            done.set()

    task = asyncio.create_task(
        Watch(as_client(server), new_edge(), incarnation=incarnation, hearers=(hears,)).run()
    )
    async with asyncio.timeout(5):
        await done.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert order == ["1", "changed", "2"]
    assert incarnation.known.is_set()


def test_the_journal_hears_what_is_settled_and_that_the_queue_is_another_one() -> None:
    settled: list[tuple[int, list[tuple[int, int]]]] = []
    changed: list[str] = []
    news = JournalNews(
        lambda epoch, runs: settled.append((epoch, list(runs))), on_queue_changed=lambda: changed.append("")
    )
    ranges = [edge_pb.SequenceRange(first=1, last=4), edge_pb.SequenceRange(first=6, last=6)]
    sequences = edge_pb.SequencesSettled(edge_epoch=3, ranges=ranges)
    for message in (
        said("1", queue_incarnation="q1", sequences_settled=sequences),
        said("2"),
        said("3", queue_incarnation="q1"),
    ):
        news.hear(message)
    assert settled == [(3, [(1, 4), (6, 6)])]
    assert changed == []

    news.hear(said("4", queue_incarnation="q2"))
    assert changed == [""]


@pytest.mark.parametrize("first", [True, False])
async def test_what_was_missed_makes_everything_unknown(*, first: bool) -> None:
    till = Till(Bank(wallet_id="", mode=edge_pb.FUNDING_MODE_NO_WALLET))
    if first:
        # A stream that starts now does not tell what came before.
        till.spending.changes._began = False
    await till.keys.find(WHO.api_key)
    await till.admitted()
    till.bank.asked.clear()

    till.hear(said("1") if first else said("1", changes_lost=edge_pb.ChangesLost()))
    await till.keys.find(WHO.api_key)
    await till.admitted()

    assert till.bank.asked == ["AuthenticateKey", "GetRateCard", "Admit"]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"funds_changed": edge_pb.FundsChanged(wallet_id=WALLET)},
        {"lease_recalled": edge_pb.LeaseRecalled(lease_id="lse_unknown")},
        {"sequences_settled": edge_pb.SequencesSettled(edge_epoch=1)},
        {"wallet_changed": edge_pb.WalletChanged(organization_id="org_other", resolution_version=9)},
        {"rate_card_changed": edge_pb.RateCardChanged(organization_id="org_other")},
    ],
)
async def test_what_concerns_nothing_here_is_asked_about_by_nobody(change: dict[str, Any]) -> None:
    till = Till(Bank())
    await till.busy()
    till.bank.asked.clear()
    till.hear(said("1", **change))
    till.give_back(await till.admitted())

    assert till.bank.asked == []
