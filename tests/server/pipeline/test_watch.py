"""Watch over a real socket: what an edge learns, how it goes on after a break, and how it ends."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar, cast

import grpc
import pytest

from om.edge.v1 import edge_service_pb2 as pb
from om_server.account.keys.call_settings import CallSettingsChange
from om_server.account.keys.key import KeyChange
from om_server.core.clock import system_clock
from om_server.core.sequence_range import SequenceRange
from om_server.pipeline.change_feed import Audience, ChangeFeed, FeedLimits
from om_server.pipeline.edge_servicer import EdgeServicer
from om_server.pipeline.poller import Poller
from om_server.pipeline.watcher import Watcher, watch
from om_server.rpc.server import RpcServer, RpcSettings
from tests.rpc import SERVICE_TOKEN, Keyring, bearer, key_caller, made
from tests.server.pipeline.edge_scene import leased, outcome
from tests.server.pipeline.harness import CREDIT, EDGE, Tenant, World

T = TypeVar("T")

_TIMEOUT_S = 20
#: A look soon after each write on SQLite, and often on PostgreSQL.
LIMITS = FeedLimits(poll_interval_s=0.02, heartbeat_interval_s=3600)

#: So that little is under way to a client that does not read.
_SMALL_WINDOW = (("grpc.http2.bdp_probe", 0),)

Stream = grpc.aio.UnaryStreamCall[pb.WatchRequest, pb.WatchResponse]


class Edge:
    """A client of one server's Watch."""

    def __init__(
        self, channel: grpc.aio.Channel, server: RpcServer, feed: ChangeFeed, poller: Poller[Audience]
    ) -> None:
        self.channel = channel
        self.server = server
        self.feed = feed
        self.poller = poller

    def watch(self, cursor: str = "", *, edge_id: str = EDGE.edge_id, secret: str = SERVICE_TOKEN) -> Stream:
        # Not by the generated stub, whose published types are those of blocking calls.
        call = self.channel.unary_stream(
            "/om.edge.v1.EdgeService/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )
        identity = pb.EdgeIdentity(edge_id=edge_id, edge_epoch=1, instance=EDGE.instance)
        request = pb.WatchRequest(edge=identity, cursor=cursor)
        # The published types forget which message is sent.
        return cast("Stream", call(request, metadata=bearer(secret)))


Serve = Callable[[], contextlib.AbstractAsyncContextManager[Edge]]


@pytest.fixture(name="serve")
def make_serve(world: World) -> Serve:
    @contextlib.asynccontextmanager
    async def serve(limits: FeedLimits = LIMITS) -> AsyncIterator[Edge]:
        feed = ChangeFeed(world.changes, clock=system_clock, limits=limits)
        poller = Poller(feed, limits)
        world.database.on_write(poller.wake)
        servicer = made(
            EdgeServicer,
            world.admission,
            world.wallet,
            feed=poller,
            incarnation="inc_test",
            clock=world.clock,
        )
        server = RpcServer(
            [servicer],
            Keyring({"om_live_admin": key_caller()}),
            settings=RpcSettings(address="127.0.0.1:0"),
            service_token=SERVICE_TOKEN,
            new_request_id=lambda: "req_1",
        )
        port = await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_SMALL_WINDOW) as channel:
                yield Edge(channel, server, feed, poller)
        finally:
            await asyncio.to_thread(poller.stop)
            await server.stop(0)

    return serve


async def soon(what: Awaitable[T]) -> T:
    return await asyncio.wait_for(what, _TIMEOUT_S)


async def read(stream: Stream) -> pb.WatchResponse:
    response = await soon(stream.read())
    assert isinstance(response, pb.WatchResponse), "the stream ended"
    return response


async def written(write: Callable[..., object], *arguments: object) -> None:
    """Write on another thread, as the server's handlers do."""
    await asyncio.to_thread(write, *arguments)


def told(response: pb.WatchResponse) -> str:
    return str(response.WhichOneof("change") or "")


async def test_a_revoked_key_arrives(serve: Serve, world: World, tenant: Tenant) -> None:
    async with serve() as edge:
        stream = edge.watch()
        first = await read(stream)
        await written(world.account.revoke_key, tenant.organization_id, tenant.key_id)
        then = await read(stream)

    assert (told(first), first.incarnation) == ("", "inc_test")
    assert then.key_revoked.key_id == tenant.key_id
    assert then.key_revoked.end_time.ToMicroseconds() == world.clock.now
    assert first.cursor
    assert then.cursor


async def test_a_key_whose_settings_changed_is_told_with_its_end_if_it_has_one(
    serve: Serve, world: World, tenant: Tenant
) -> None:
    change = KeyChange(calls=CallSettingsChange(clamp_output=True))
    async with serve() as edge:
        stream = edge.watch()
        await read(stream)
        await written(world.account.update_key, tenant.organization_id, tenant.key_id, change)
        then = await read(stream)

    assert (then.key_revoked.key_id, then.key_revoked.HasField("end_time")) == (tenant.key_id, False)


async def test_after_a_break_nothing_is_lost(serve: Serve, world: World, tenant: Tenant) -> None:
    async with serve() as edge:
        stream = edge.watch()
        cursor = (await read(stream)).cursor
        stream.cancel()
        await written(world.account.revoke_key, tenant.organization_id, tenant.key_id)

        back = await read(edge.watch(cursor))

    assert back.key_revoked.key_id == tenant.key_id


async def test_an_edge_that_resumes_at_every_message_misses_none(serve: Serve, world: World) -> None:
    tenants = [world.tenant(str(number)) for number in range(12)]
    wanted = {tenant.key_id for tenant in tenants}
    seen: set[str] = set()

    async with serve() as edge:
        cursor = (await read(edge.watch())).cursor

        async def revoke() -> None:
            for tenant in tenants:
                await written(world.account.revoke_key, tenant.organization_id, tenant.key_id)

        writing = asyncio.create_task(revoke())
        while seen != wanted:
            stream = edge.watch(cursor)
            response = await read(stream)
            # A delivery moves the cursor with its last message.
            while response.cursor == cursor:
                seen.add(response.key_revoked.key_id)
                response = await read(stream)
            seen.add(response.key_revoked.key_id)
            seen.discard("")
            assert told(response) != "changes_lost"
            cursor = response.cursor
            stream.cancel()
        await writing


async def test_a_cursor_that_is_too_old_says_so_and_the_stream_goes_on(
    serve: Serve, world: World, tenant: Tenant
) -> None:
    async with serve() as edge:
        stream = edge.watch("inc_older.7")
        first = await read(stream)
        await written(world.account.revoke_key, tenant.organization_id, tenant.key_id)

        assert told(first) == "changes_lost"
        assert told(await read(stream)) == "key_revoked"


async def test_a_new_life_of_the_store_arrives(serve: Serve, world: World) -> None:
    async with serve() as edge:
        stream = edge.watch()
        await read(stream)
        await written(
            world.database.write,
            lambda: world.database.engine.execute_sql("UPDATE incarnations SET incarnation = 'inc_next'"),
        )

        response = await read(stream)

    assert (told(response), response.incarnation) == ("changes_lost", "inc_next")


async def test_settled_sequences_arrive_and_again_for_whoever_comes_back(
    serve: Serve, world: World, tenant: Tenant
) -> None:
    event = outcome(world, tenant, leased(world, tenant))
    async with serve() as edge:
        stream = edge.watch()
        await read(stream)
        await written(world.settler.settle, [event])
        settled = await read(stream)
        while told(settled) != "sequences_settled":
            settled = await read(stream)
        again = await read(edge.watch())

    wanted = pb.SequencesSettled(edge_epoch=1, ranges=[pb.SequenceRange(first=1, last=1)])
    assert settled.sequences_settled == wanted
    assert again.sequences_settled == wanted


async def test_every_kind_of_change_has_its_message(serve: Serve, world: World, tenant: Tenant) -> None:
    poor = world.tenant("Poor")
    lease = leased(world, tenant, max_intents=0)
    organization_id = tenant.organization_id
    seen: dict[str, pb.WatchResponse] = {}
    sql = f"INSERT INTO tariffs VALUES ('{organization_id}', 'v1')"  # noqa: S608 - a test's own

    async with serve() as edge:
        stream = edge.watch()
        await read(stream)
        await written(world.grant, poor.organization_id, CREDIT)
        await written(world.wallet.recall_leases, organization_id, lease.wallet_id)
        await written(world.database.write, lambda: world.database.engine.execute_sql(sql))
        while len(seen) < 4:
            response = await read(stream)
            seen[told(response)] = response

    wallet = world.wallet.get_wallet(poor.organization_id)
    assert seen["funds_changed"].funds_changed == pb.FundsChanged(
        wallet_id=wallet.wallet_id, available_nanos=CREDIT
    )
    assert seen["wallet_changed"].wallet_changed == pb.WalletChanged(
        organization_id=poor.organization_id, resolution_version=1
    )
    assert seen["lease_recalled"].lease_recalled.lease_id == lease.lease_id
    assert seen["rate_card_changed"].rate_card_changed.organization_id == organization_id


async def test_two_hundred_streams_cost_the_queries_of_one(
    serve: Serve, world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    execute: Callable[..., object] = world.database.engine.execute_sql

    def counted(sql: str, *arguments: object) -> object:
        asked.append(sql)
        return execute(sql, *arguments)

    async with serve() as edge:
        streams = [edge.watch(edge_id=f"edg_{number:026}") for number in range(200)]
        await asyncio.gather(*(read(stream) for stream in streams))
        monkeypatch.setattr(world.database.engine, "execute_sql", counted)
        await written(world.account.revoke_key, tenant.organization_id, tenant.key_id)
        responses: Sequence[pb.WatchResponse] = await asyncio.gather(*(read(one) for one in streams))
        reads = [sql for sql in asked if "FROM changes" in sql]

    assert {response.key_revoked.key_id for response in responses} == {tenant.key_id}
    # One for each look while the answers went out, not one for each stream.
    assert 1 <= len(reads) < 100
    assert not [sql for sql in asked if "settled_ranges" in sql]


async def test_an_edge_that_does_not_read_is_told_that_it_lost_changes(
    serve: Serve, world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("om_server.pipeline.edge_servicer.watch", functools.partial(watch, pending_max=5))
    many = [SequenceRange(n, n) for n in range(1, 3000, 2)]
    async with serve() as edge:
        stream = edge.watch()
        await read(stream)
        [watcher] = edge.feed._watchers
        assert isinstance(watcher, Watcher)
        for _ in range(1000):
            await written(world.changes.note_settled, EDGE.edge_id, 1, many)
            if watcher.lagging:
                break
        assert watcher.lagging
        response = await read(stream)
        while told(response) != "changes_lost":
            response = await read(stream)
        again = await read(stream)

    assert again.sequences_settled.ranges[0] == pb.SequenceRange(first=1, last=1)


async def test_only_the_service_credential_opens_it(serve: Serve) -> None:
    async with serve() as edge:
        for secret, code in (
            ("om_live_admin", grpc.StatusCode.PERMISSION_DENIED),
            ("wrong", grpc.StatusCode.UNAUTHENTICATED),
        ):
            stream = edge.watch(secret=secret)
            assert await soon(stream.code()) is code


async def test_a_stream_without_an_edge_is_refused(serve: Serve) -> None:
    async with serve() as edge:
        stream = edge.watch(edge_id="me")

        assert await soon(stream.code()) is grpc.StatusCode.INVALID_ARGUMENT


async def test_it_ends_well_when_the_server_stops(serve: Serve) -> None:
    async with serve() as edge:
        streams = [edge.watch(edge_id=f"edg_{number:026}") for number in range(3)]
        for stream in streams:
            await read(stream)

        await asyncio.to_thread(edge.poller.stop)
        # With so long a grace this ends only if no stream is left.
        await soon(edge.server.stop(grace=600))

        assert [await soon(stream.code()) for stream in streams] == [grpc.StatusCode.OK] * 3


async def test_a_stream_costs_no_thread_of_the_server(serve: Serve, world: World, tenant: Tenant) -> None:
    async with serve() as edge:
        streams = [edge.watch(edge_id=f"edg_{number:026}") for number in range(40)]
        for stream in streams:
            await read(stream)

        # The pool has sixteen threads, and forty streams leave them all to others.
        assert len(edge.server._pool._threads) <= 16
        assert edge.server._pool._work_queue.qsize() == 0
