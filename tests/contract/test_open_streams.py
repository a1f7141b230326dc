"""A stream that is open when its caller loses the right to it ends, over the whole platform."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import grpc
import pytest

from om.analytics.v1 import analytics_service_pb2 as pb
from om.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from om_server import wiring
from om_server.rpc.caller import Principal, Scope
from om_server.schema import MODELS
from om_server.storage.migrate import migrate
from om_server.storage.sqlite import SqliteStore
from tests.contract.calling import Caller
from tests.contract.estate import Estate, Tenant
from tests.contract.postbox import URL, Postbox
from tests.rpc import SERVICE_TOKEN, bearer, failing, serving
from tests.server.account.people.house import CHEAP

if TYPE_CHECKING:
    from collections.abc import Iterator

_ACCOUNT = "om.account.v1.AccountService"
_PATIENCE_S = 30


class Watching:
    """A tenant, and streams of its events."""

    def __init__(self, estate: Estate, channel: grpc.Channel) -> None:
        self.estate = estate
        self.ours, self.others = Tenant(estate, "ours"), Tenant(estate, "others")
        self._stub = AnalyticsServiceStub(channel)

    def opened(self, secret: str) -> Iterator[pb.WatchEventsResponse]:
        """A stream that is being told: its first message was read."""
        stream = self._stub.WatchEvents(pb.WatchEventsRequest(), metadata=bearer(secret), timeout=_PATIENCE_S)
        next(stream)
        return stream

    def done(self, path: str, request: dict[str, str], secret: str) -> None:
        assert not self.estate.caller.call(path, request, secret=secret).reason


@pytest.fixture(scope="module", name="watching")
def watch_events(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watching]:
    database = SqliteStore(tmp_path_factory.mktemp("streams") / "om.db", MODELS)
    migrate(database, incarnation="inc_test", now_us=0)
    mail = Postbox()
    people = wiring.PeopleSettings(mail, URL, sign_up_open=True, password_cost=CHEAP)
    platform = wiring.build(database, people=people)
    with (
        contextlib.closing(database),
        serving(platform.servicers, platform.authenticator) as channel,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(platform.stop)
        yield Watching(Estate(platform, Caller(channel), mail), channel)


def require_cut(stream: Iterator[pb.WatchEventsResponse]) -> None:
    """The stream ends as the next call would."""
    with failing() as failures:
        list(stream)
    assert (failures[0].code, failures[0].reason) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "CREDENTIAL_INVALID",
    )


def test_every_stream_of_a_suspended_organization_ends_and_no_other(watching: Watching) -> None:
    ours, others = watching.ours, watching.others
    by_key = watching.opened(ours.new_key(Scope.READ).secret)
    by_owner = watching.opened(ours.credential(Principal.OWNER))
    elsewhere = watching.opened(others.new_key(Scope.READ).secret)

    organization = {"organization_id": ours.organization_id}
    watching.done("om.account.v1.AdminService/SuspendOrganization", organization, SERVICE_TOKEN)

    require_cut(by_key)
    require_cut(by_owner)
    watching.done("om.account.v1.AdminService/ActivateOrganization", organization, SERVICE_TOKEN)
    others.make_event_id()
    assert any(message.HasField("event") for message in elsewhere)


def test_a_revoked_key_and_an_ended_session_watch_no_longer(watching: Watching) -> None:
    ours = watching.others
    new, secret = ours.new_key(Scope.READ), ours.credential(Principal.OWNER)
    by_key, by_owner = watching.opened(new.secret), watching.opened(secret)

    watching.done(f"{_ACCOUNT}/RevokeKey", {"key_id": new.key.key_id}, ours.new_key(Scope.ADMIN).secret)
    watching.done(f"{_ACCOUNT}/SignOut", {}, secret)

    require_cut(by_key)
    require_cut(by_owner)
