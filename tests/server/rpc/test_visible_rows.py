"""Whose rows a handler may see: the wrapper around every call says so to the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from om.account.v1 import account_service_pb2 as pb
from om.account.v1 import account_service_pb2_grpc
from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om.analytics.v1 import analytics_service_pb2_grpc
from om_server.rpc.caller import Scope
from om_server.storage.tenancy import EVERYBODY, visible
from tests.rpc import Keyring, bearer, key_caller, made, serving
from tests.server.rpc.looking_servicer import Looking, LookingStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc

    from om_server.rpc.caller import Caller

SECRET = "om_live_" + "s" * 38


class LookingKeyring(Keyring):
    """Remembers whose rows it could see when it looked a key up."""

    def authenticate(self, secret: str) -> Caller:
        self.seen = visible()
        return super().authenticate(secret)


@pytest.fixture(scope="module")
def keyring() -> LookingKeyring:
    return LookingKeyring({SECRET: key_caller(Scope.READ)})


@pytest.fixture(scope="module")
def channel(keyring: LookingKeyring) -> Iterator[grpc.Channel]:
    with serving([made(Looking), made(LookingStream)], keyring) as found:
        yield found


def test_a_key_sees_its_organizations_rows_alone(channel: grpc.Channel, keyring: LookingKeyring) -> None:
    stub = account_service_pb2_grpc.AccountServiceStub(channel)

    answer = stub.GetCaller(pb.GetCallerRequest(), metadata=bearer(SECRET))

    assert answer.organization_id == "org_test"
    assert keyring.seen == EVERYBODY, "the key is looked up before its organization is known"


def test_a_service_sees_everybodys_rows(channel: grpc.Channel) -> None:
    stub = account_service_pb2_grpc.AccountServiceStub(channel)

    answer = stub.AuthenticateKey(pb.AuthenticateKeyRequest(secret=SECRET), metadata=bearer())

    assert answer.organization_id == EVERYBODY


def test_a_stream_sees_its_callers_rows_on_the_loop_and_on_the_pool(channel: grpc.Channel) -> None:
    stub = analytics_service_pb2_grpc.AnalyticsServiceStub(channel)

    answers = stub.WatchEvents(analytics_pb.WatchEventsRequest(), metadata=bearer(SECRET))

    assert [answer.cursor for answer in answers] == ["org_test", "org_test"]


def test_nothing_is_left_behind_on_this_thread(channel: grpc.Channel) -> None:
    stub = account_service_pb2_grpc.AccountServiceStub(channel)
    stub.GetCaller(pb.GetCallerRequest(), metadata=bearer(SECRET))

    assert visible() is None
