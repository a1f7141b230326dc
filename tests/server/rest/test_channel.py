import grpc
import pytest

from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.rest.channel import Server
from om_server.rest.request import CallContext
from tests.server.rest.fake_servicer import INGEST_KEY, KEY, Memory

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_every_call_has_a_deadline(grpc_address: str, memory: Memory) -> None:
    server = Server(grpc_address, timeout_s=0.05)
    request = wallet_pb.RefundChargeRequest(event_id="evt_1", idempotency_key="once")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.ask(server.wallet.RefundCharge, request, context=CallContext(KEY, "req_1"))

    memory.may_refund.set()
    await server.close()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED, caught.value.details()


async def test_only_a_worthless_credential_fails_confirmation(grpc_address: str, memory: Memory) -> None:
    server = Server(grpc_address)

    await server.confirm_credential(CallContext(KEY, "req_1"))
    # It may not ask who it is, and so it is known.
    await server.confirm_credential(CallContext(INGEST_KEY, "req_1"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.confirm_credential(CallContext("om_live_wrong", "req_1"))

    await server.close()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_server_that_is_away_confirms_nothing(memory: Memory) -> None:
    server = Server("127.0.0.1:1", timeout_s=5)

    await server.confirm_credential(CallContext("om_live_any", "req_1"))
    assert await server.serving() is None

    await server.close()
