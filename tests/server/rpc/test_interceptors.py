"""The wrapper around every call, over a real socket."""

from collections.abc import Iterator
from typing import TypeAlias

import grpc
import pytest
from structlog.testing import capture_logs

from om.account.v1 import account_service_pb2 as pb
from om.account.v1 import account_service_pb2_grpc
from om.analytics.v1 import analytics_service_pb2, analytics_service_pb2_grpc
from om_server.core.errors import NotFound
from om_server.metrics.exposition import registry_of
from om_server.metrics.rpc import RpcMetrics
from om_server.rpc.caller import Scope, caller
from tests.rpc import SERVICE_TOKEN, Keyring, bearer, failing, key_caller, made, serving
from tests.server.rpc.fake_servicer import Accounts, Analytics

SECRET = "om_live_" + "s" * 38
ADMIN_SECRET = "om_live_" + "a" * 38
TEAM_ID = "team_" + "0" * 26


@pytest.fixture(name="analytics")
def make_analytics() -> Analytics:
    return made(Analytics)


@pytest.fixture(name="channel")
def serve(analytics: Analytics) -> Iterator[grpc.Channel]:
    keyring = Keyring({SECRET: key_caller(Scope.READ), ADMIN_SECRET: key_caller(Scope.ADMIN)})
    with serving([made(Accounts), analytics], keyring) as channel:
        yield channel


@pytest.fixture(name="accounts")
def make_stub(channel: grpc.Channel) -> account_service_pb2_grpc.AccountServiceStub:
    return account_service_pb2_grpc.AccountServiceStub(channel)


@pytest.fixture(name="watch")
def make_watch(channel: grpc.Channel) -> analytics_service_pb2_grpc.AnalyticsServiceStub:
    return analytics_service_pb2_grpc.AnalyticsServiceStub(channel)


def watching(cursor: str) -> analytics_service_pb2.WatchEventsRequest:
    return analytics_service_pb2.WatchEventsRequest(cursor=cursor)


RawCall: TypeAlias = "grpc.UnaryUnaryMultiCallable[bytes, bytes]"
Stub = account_service_pb2_grpc.AccountServiceStub
WatchStub = analytics_service_pb2_grpc.AnalyticsServiceStub


def test_a_sync_handler_runs_on_the_pool_and_knows_its_caller(accounts: Stub) -> None:
    answer = accounts.GetCaller(pb.GetCallerRequest(), metadata=bearer(SECRET))

    assert (answer.organization_id, answer.key_id) == ("org_test", "key_test")
    assert answer.team_id.startswith("rpc_")


def test_a_call_knows_no_caller_of_the_call_before_on_its_thread(accounts: Stub) -> None:
    accounts.GetCaller(pb.GetCallerRequest(), metadata=bearer(SECRET))

    with pytest.raises(LookupError):
        caller()


def test_the_request_id_of_the_caller_comes_back(accounts: Stub) -> None:
    answer, call = accounts.GetCaller.with_call(
        pb.GetCallerRequest(), metadata=bearer(SECRET, x_request_id="abc-1")
    )

    assert answer.member_id == "abc-1"
    assert ("x-request-id", "abc-1") in call.trailing_metadata()


@pytest.mark.parametrize("sent", ["", "two words", "x" * 129, "a/b"])
def test_a_request_id_that_is_none_is_replaced(accounts: Stub, sent: str) -> None:
    answer = accounts.GetCaller(pb.GetCallerRequest(), metadata=bearer(SECRET, x_request_id=sent))

    assert answer.member_id == "req_1"


def test_a_domain_error_reaches_the_client_whole(accounts: Stub) -> None:
    with failing() as failures:
        accounts.GetTeam(pb.GetTeamRequest(team_id=TEAM_ID), metadata=bearer(SECRET))

    [failure] = failures
    assert failure.code is grpc.StatusCode.NOT_FOUND
    assert (failure.reason, failure.domain) == ("NOT_FOUND", "openmonetize.io")
    assert failure.metadata == {"kind": "team", "id": TEAM_ID}
    assert failure.request_id == "req_1"


def test_a_defect_is_internal_and_its_cause_stays_here(accounts: Stub) -> None:
    with capture_logs() as logs, failing() as failures:
        accounts.ListTeams(pb.ListTeamsRequest(), metadata=bearer(SECRET))

    [failure] = failures
    assert (failure.code, failure.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret cause" not in repr(failure)
    [cause] = [line for line in logs if line["event"] == "rpc_failed"]
    assert isinstance(cause["exc_info"], ZeroDivisionError)
    assert cause["request_id"] == failure.request_id


def test_a_part_that_is_away_is_logged_with_its_cause(accounts: Stub) -> None:
    with capture_logs() as logs, failing() as failures:
        accounts.GetOrganization(pb.GetOrganizationRequest(), metadata=bearer(SECRET))

    assert failures[0].code is grpc.StatusCode.UNAVAILABLE
    assert [line["log_level"] for line in logs if line["event"] == "rpc_failed"] == ["error"]


def test_an_aborting_sync_handler_is_an_error_on_the_wire(accounts: Stub) -> None:
    with failing() as failures:
        accounts.ListKeys(pb.ListKeysRequest(), metadata=bearer(SECRET))

    assert (failures[0].code, failures[0].message) == (grpc.StatusCode.DATA_LOSS, "by hand")


def test_an_answer_of_the_wrong_type_is_a_defect(accounts: Stub) -> None:
    with failing() as failures:
        accounts.GetUser(pb.GetUserRequest(user_id="u"), metadata=bearer(SECRET))

    assert failures[0].reason == "INTERNAL"


def test_every_violation_is_named(accounts: Stub) -> None:
    with failing() as failures:
        accounts.ListTeams(pb.ListTeamsRequest(page_size=-1, page_token="t" * 2049), metadata=bearer(SECRET))

    [failure] = failures
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert set(failure.violations) == {"page_size", "page_token"}
    assert failure.metadata == {"field": "page_size"}


def test_bytes_that_are_no_message_are_refused(channel: grpc.Channel) -> None:
    call: RawCall = channel.unary_unary("/om.account.v1.AccountService/GetTeam")

    with failing() as failures:
        call(b"\xff\xff", metadata=bearer(SECRET))

    assert failures[0].metadata == {"field": "request"}


def test_bytes_of_a_stranger_are_not_looked_at(channel: grpc.Channel) -> None:
    call: RawCall = channel.unary_unary("/om.account.v1.AccountService/GetTeam")

    with failing() as failures:
        call(b"\xff\xff", metadata=bearer("wrong"))

    assert failures[0].reason == "CREDENTIAL_INVALID"


def test_access_is_decided_before_shape(accounts: Stub) -> None:
    """A key without the scope learns nothing of the request's rules."""
    with failing() as failures:
        accounts.CreateTeam(pb.CreateTeamRequest(), metadata=bearer(SECRET))

    [failure] = failures
    assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
    assert failure.metadata == {"scope": "ADMIN"}


def test_an_rpc_that_nobody_wrote_says_so_whatever_the_request(accounts: Stub) -> None:
    with failing() as failures:
        accounts.AuthenticateKey(pb.AuthenticateKeyRequest(), metadata=bearer())

    [failure] = failures
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED")
    assert failure.metadata == {"rpc": "om.account.v1.AccountService/AuthenticateKey"}


def test_an_rpc_that_nobody_wrote_is_not_shown_to_a_stranger(accounts: Stub) -> None:
    with failing() as failures:
        accounts.AuthenticateKey(pb.AuthenticateKeyRequest())

    assert failures[0].reason == "CREDENTIAL_MISSING"


def test_a_call_is_logged_once_without_secrets(accounts: Stub) -> None:
    with capture_logs() as logs:
        accounts.GetCaller(pb.GetCallerRequest(), metadata=bearer(SECRET))
        with failing():
            accounts.GetTeam(pb.GetTeamRequest(team_id=TEAM_ID), metadata=bearer(SECRET))

    answered, refused = logs
    duration = answered.pop("duration_ms")
    assert duration >= 0
    assert answered == {
        "event": "rpc_answered",
        "log_level": "info",
        "rpc": "om.account.v1.AccountService/GetCaller",
        "code": "OK",
        "request_id": "req_1",
        "principal": "key",
        "organization_id": "org_test",
    }
    assert (refused["code"], refused["reason"]) == ("NOT_FOUND", "NOT_FOUND")
    assert SECRET not in repr(logs)


class _KnowsKeys(Accounts):
    def AuthenticateKey(  # noqa: N802 - named as its RPC.
        self, request: pb.AuthenticateKeyRequest, context: grpc.ServicerContext
    ) -> pb.AuthenticateKeyResponse:
        if request.secret != SECRET:
            raise NotFound("key", "")
        return pb.AuthenticateKeyResponse()


def test_what_our_own_processes_ask_all_day_is_no_news() -> None:
    with serving([made(_KnowsKeys)]) as channel, capture_logs() as logs:
        accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        accounts.AuthenticateKey(pb.AuthenticateKeyRequest(secret=SECRET), metadata=bearer())
        with failing():
            accounts.AuthenticateKey(pb.AuthenticateKeyRequest(secret=ADMIN_SECRET), metadata=bearer())

    assert [(line["code"], line["log_level"]) for line in logs] == [("OK", "debug"), ("NOT_FOUND", "info")]


def test_calls_and_open_streams_are_counted(analytics: Analytics) -> None:
    metrics = RpcMetrics()
    registry = registry_of(metrics)
    with serving(
        [made(Accounts), analytics], Keyring({SECRET: key_caller(Scope.READ)}), counter=metrics
    ) as channel:
        accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        accounts.GetCaller(pb.GetCallerRequest(), metadata=bearer(SECRET))
        with failing():
            accounts.GetTeam(pb.GetTeamRequest(team_id=TEAM_ID), metadata=bearer(SECRET))
        watch = analytics_service_pb2_grpc.AnalyticsServiceStub(channel)
        list(watch.WatchEvents(watching(""), metadata=bearer(SECRET)))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    service, events = "om.account.v1.AccountService", "om.analytics.v1.AnalyticsService/WatchEvents"
    assert value("om_rpc_calls_total", rpc=f"{service}/GetCaller", code="OK") == 1
    assert value("om_rpc_calls_total", rpc=f"{service}/GetTeam", code="NOT_FOUND") == 1
    assert value("om_rpc_refusals_total", reason="NOT_FOUND") == 1
    assert value("om_rpc_seconds_count", rpc=f"{service}/GetCaller") == 1
    assert value("om_rpc_calls_total", rpc=events, code="OK") == 1
    assert value("om_rpc_streams", rpc=events) == 0
    assert value("om_rpc_seconds_count", rpc=events) is None


def test_a_refused_call_is_logged_with_its_caller(accounts: Stub) -> None:
    with capture_logs() as logs, failing():
        accounts.CreateTeam(pb.CreateTeamRequest(), metadata=bearer(SECRET))

    assert [(line["reason"], line["organization_id"]) for line in logs] == [("SCOPE_MISSING", "org_test")]


def test_a_stream_knows_its_caller(watch: WatchStub) -> None:
    call = watch.WatchEvents(watching(""), metadata=bearer(SECRET))

    assert [answer.cursor for answer in call] == ["org_test"]
    assert ("x-request-id", "req_1") in call.trailing_metadata()


def test_a_failing_stream_is_an_error_on_the_wire(watch: WatchStub) -> None:
    with failing() as failures:
        list(watch.WatchEvents(watching("fail"), metadata=bearer(SECRET)))

    assert (failures[0].reason, failures[0].metadata) == ("NOT_FOUND", {"kind": "cursor", "id": "fail"})


def test_an_aborting_stream_is_an_error_on_the_wire(watch: WatchStub) -> None:
    with failing() as failures:
        list(watch.WatchEvents(watching("abort"), metadata=bearer(SECRET)))

    assert failures[0].code is grpc.StatusCode.DATA_LOSS


def test_a_stream_is_for_callers_that_may_have_it(watch: WatchStub) -> None:
    with failing() as failures:
        list(watch.WatchEvents(watching(""), metadata=bearer(SERVICE_TOKEN)))

    assert failures[0].reason == "ACCESS_DENIED"


def test_a_stream_that_nobody_wrote_says_so(channel: grpc.Channel) -> None:
    stub = analytics_service_pb2_grpc.AnalyticsServiceStub(channel)

    with failing() as failures:
        list(stub.ExportEvents(analytics_service_pb2.ExportEventsRequest(), metadata=bearer(ADMIN_SECRET)))

    assert failures[0].reason == "NOT_IMPLEMENTED"


def test_a_stream_ends_when_its_client_leaves(watch: WatchStub, analytics: Analytics) -> None:
    call = watch.WatchEvents(watching("forever"), metadata=bearer(SECRET))
    next(call)
    assert not analytics.closed.is_set()

    call.cancel()

    assert analytics.closed.wait(10)
