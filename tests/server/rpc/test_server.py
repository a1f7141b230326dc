"""What the server does around the calls: health, reflection, bounds, start and stop."""

import asyncio
from collections.abc import Callable

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from om.account.v1 import account_service_pb2 as pb
from om.account.v1 import account_service_pb2_grpc
from om_server.rpc.caller import Principal
from om_server.rpc.contract import SERVICES
from om_server.rpc.server import RpcServer, RpcSettings
from tests.rpc import Keyring, bearer, failing, key_caller, made, serving
from tests.server.rpc.fake_servicer import Accounts, Slow

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def server(
    address: str = "127.0.0.1:0", *servicers: object, database_answers: Callable[[], bool] = lambda: True
) -> RpcServer:
    return RpcServer(
        servicers,
        Keyring({"k": key_caller()}),
        settings=RpcSettings(address=address),
        service_token="t",
        new_request_id=lambda: "req_1",
        database_answers=database_answers,
    )


def test_health_is_told_to_anybody_for_every_service() -> None:
    with serving([]) as channel:
        # Not by the generated stub, whose published types have no methods.
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        states = {name: check(health_pb2.HealthCheckRequest(service=name)).status for name in ("", *SERVICES)}

    assert set(states.values()) == {SERVING}


async def test_the_server_is_not_healthy_while_its_database_does_not_answer() -> None:
    database = {"up": False}
    one = server(database_answers=lambda: database["up"])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{await one.start()}") as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        down = await check(health_pb2.HealthCheckRequest())
        wallets = await check(health_pb2.HealthCheckRequest(service="om.wallet.v1.WalletService"))
        database["up"] = True
        up = await check(health_pb2.HealthCheckRequest())
    await one.stop(0)

    assert (down.status, wallets.status, up.status) == (NOT_SERVING, SERVING, SERVING)


@pytest.mark.parametrize("reflection", [True, False])
def test_the_contract_is_shown_only_if_asked_for(*, reflection: bool) -> None:
    request = reflection_pb2.ServerReflectionRequest(list_services="")

    with serving([], reflection=reflection) as channel:
        show = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        call = show(iter([request]))
        if not reflection:
            with failing() as failures:
                list(call)
            assert failures[0].code is grpc.StatusCode.UNIMPLEMENTED
            return
        [answer] = list(call)

    assert {service.name for service in answer.list_services_response.service} > set(SERVICES)


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_service_answers_though_nobody_serves_it(service: str) -> None:
    rpc = next(rpc for rpc in SERVICES[service] if not rpc.streaming)

    with serving([]) as channel, failing() as failures:
        channel.unary_unary(f"/{rpc.path}", request_serializer=bytes)(b"")

    anybody = Principal.ANONYMOUS in rpc.access.allow
    assert failures[0].reason == ("NOT_IMPLEMENTED" if anybody else "CREDENTIAL_MISSING")


def test_a_message_of_the_size_of_the_largest_body_is_taken() -> None:
    with serving([made(Accounts)]) as channel, failing() as failures:
        accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        request = pb.AuthenticateKeyRequest(secret="s" * 10 * 1024 * 1024)
        accounts.AuthenticateKey(request, metadata=bearer())

    # It was read: nobody serves it here.
    assert failures[0].reason == "NOT_IMPLEMENTED"


def test_a_message_above_the_bound_is_refused() -> None:
    with serving([made(Accounts)], receive_bytes_max=1000) as channel:
        accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        with failing() as failures:
            accounts.AuthenticateKey(pb.AuthenticateKeyRequest(secret="s" * 1001), metadata=bearer())

    assert failures[0].code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_calls_above_the_bound_are_refused_at_once() -> None:
    slow = made(Slow)
    keyring = Keyring({"k": key_caller()})
    with serving([slow], keyring, concurrent_calls_max=1) as channel:
        accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        first = accounts.GetCaller.future(pb.GetCallerRequest(), metadata=bearer("k"))
        assert slow.entered.wait(10)
        with failing() as failures:
            accounts.GetCaller(pb.GetCallerRequest(), metadata=bearer("k"))
        slow.leave.set()
        first.result(10)

    assert failures[0].code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_port_that_is_taken_stops_the_start() -> None:
    first = server()
    port = await first.start()
    second = server(f"127.0.0.1:{port}")

    with pytest.raises(RuntimeError):
        await second.start()

    await second.stop(0)
    await first.stop(0)


async def test_stopping_lets_a_running_handler_end() -> None:
    slow = made(Slow)
    one = server("127.0.0.1:0", slow)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{await one.start()}") as channel:
        running = await entered(slow, channel)
        stopping = asyncio.ensure_future(one.stop(10))
        asyncio.get_running_loop().call_soon(slow.leave.set)
        await stopping

        assert (await running).organization_id == "slow"


async def test_stopping_waits_for_a_handler_that_outlives_its_call() -> None:
    """The database closes afterwards, so nobody may be left in it."""
    slow = made(Slow)
    one = server("127.0.0.1:0", slow)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{await one.start()}") as channel:
        running = await entered(slow, channel)
        stopping = asyncio.ensure_future(one.stop(0))
        with pytest.raises(grpc.aio.AioRpcError):
            await running
        done, _ = await asyncio.wait([stopping], timeout=0.1)
        assert not done

        slow.leave.set()
        await stopping

        assert slow.left.is_set()


async def entered(slow: Slow, channel: grpc.aio.Channel) -> "asyncio.Task[pb.GetCallerResponse]":
    """Start a call and return when its handler runs."""
    stub = account_service_pb2_grpc.AccountServiceStub(channel)

    async def call() -> pb.GetCallerResponse:
        return await stub.GetCaller(pb.GetCallerRequest(), metadata=bearer("k"))

    running = asyncio.create_task(call())
    assert await asyncio.to_thread(slow.entered.wait, 10)
    return running


def test_a_service_has_one_servicer() -> None:
    with pytest.raises(TypeError, match="two servicers"):
        server("127.0.0.1:0", made(Accounts), made(Slow))
