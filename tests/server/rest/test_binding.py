import pytest

from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.rest.binding import Binding
from om_server.rest.errors import FieldProblem, RequestMalformed

LIST_EVENTS = Binding.from_operation(
    {
        "x-grpc-method": "/om.analytics.v1.AnalyticsService/ListEvents",
        "x-grpc-body": "",
        "x-grpc-path-fields": {},
    }
)
LIST_ENTRIES = Binding.from_operation(
    {
        "x-grpc-method": "/om.wallet.v1.WalletService/ListEntries",
        "x-grpc-body": "",
        "x-grpc-path-fields": {"wallet_id": "wallet_id"},
    }
)
CAPTURE = Binding.from_operation(
    {
        "x-grpc-method": "/om.wallet.v1.WalletService/CaptureHold",
        "x-grpc-body": "*",
        "x-grpc-path-fields": {"hold_id": "hold_id"},
    }
)


def refused(binding: Binding, raw: bytes = b"", *, query: list[tuple[str, str]]) -> tuple[FieldProblem, ...]:
    path = dict.fromkeys(binding.path_fields, "some_id")
    with pytest.raises(RequestMalformed) as caught:
        binding.read(raw, query=query, path=path)
    return caught.value.fields


def test_a_query_fills_nested_repeated_and_typed_fields() -> None:
    query = [
        ("filter.providers", "openai"),
        ("filter.providers", "anthropic"),
        ("filter.startTime", "2026-01-01T00:00:00Z"),
        ("filter.includeSandbox", "true"),
        ("pageSize", "7"),
    ]

    message = LIST_EVENTS.read(b"", query=query, path={})

    assert isinstance(message, analytics_pb.ListEventsRequest)
    assert list(message.filter.providers) == ["openai", "anthropic"]
    assert message.filter.start_time.seconds == 1_767_225_600
    assert message.filter.include_sandbox
    assert message.page_size == 7


def test_a_parameter_may_be_spelled_as_the_contract_does() -> None:
    message = LIST_EVENTS.read(b"", query=[("page_size", "7"), ("filter.user_ids", "u")], path={})

    assert isinstance(message, analytics_pb.ListEventsRequest)
    assert (message.page_size, list(message.filter.user_ids)) == (7, ["u"])


def test_a_path_fills_its_field() -> None:
    message = LIST_ENTRIES.read(b"", query=[], path={"wallet_id": "wal_1"})

    assert isinstance(message, wallet_pb.ListEntriesRequest)
    assert message.wallet_id == "wal_1"


@pytest.mark.parametrize("raw", [b"", b"  ", b"{}"])
def test_a_body_may_be_empty(raw: bytes) -> None:
    message = CAPTURE.read(raw, query=[], path={"hold_id": "hld_1"})

    assert isinstance(message, wallet_pb.CaptureHoldRequest)
    assert message.hold_id == "hld_1"
    assert not message.HasField("amount")


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("walletId", "unknown"),
        ("filter", "unknown"),
        ("filter.startTime.seconds", "unknown"),
        ("pageSize.x", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_parameter_without_a_place_is_unknown(name: str, rule: str) -> None:
    assert [(p.field, p.rule) for p in refused(LIST_EVENTS, query=[(name, "1")])] == [(name, rule)]


def test_a_parameter_is_no_second_source_of_the_path() -> None:
    assert refused(LIST_ENTRIES, query=[("walletId", "wal_2")])[0].rule == "unknown"


def test_a_parameter_given_twice_is_refused() -> None:
    problems = refused(LIST_EVENTS, query=[("pageSize", "1"), ("page_size", "2")])

    assert [(p.field, p.rule) for p in problems] == [("page_size", "unique")]


def test_a_body_is_no_second_source_of_the_path() -> None:
    problems = refused(CAPTURE, b'{"holdId": "hld_2"}', query=[])

    assert problems == (FieldProblem("holdId", "is given by the path", "unknown"),)


def test_beside_a_body_there_are_no_parameters() -> None:
    assert refused(CAPTURE, query=[("amount.amountNanos", "1")])[0].rule == "unknown"


@pytest.mark.parametrize(
    ("raw", "rule"), [(b"{", "json"), (b"[]", "type"), (b"null", "type"), (b"\xff", "json")]
)
def test_a_body_is_an_object(raw: bytes, rule: str) -> None:
    assert refused(CAPTURE, raw, query=[])[0].rule == rule


def test_what_only_protobuf_notices_is_named_too() -> None:
    (problem,) = refused(LIST_EVENTS, query=[("filter.startTime", "yesterday")])

    assert (problem.field, problem.rule) == ("filter.startTime", "format")
    assert "Failed to parse" not in problem.message


@pytest.mark.parametrize(
    "operation",
    [
        {
            "x-grpc-method": "/om.wallet.v1.WalletService/GrantCredits",
            "x-grpc-body": "owner",
            "x-grpc-path-fields": {},
        },
        {
            "x-grpc-method": "/om.wallet.v1.WalletService/GetWallet",
            "x-grpc-body": "",
            "x-grpc-path-fields": {"id": "owner.id"},
        },
    ],
)
def test_an_annotation_that_cannot_be_served_stops_the_start(operation: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        Binding.from_operation(operation)
