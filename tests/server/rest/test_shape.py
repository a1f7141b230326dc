import pytest
from google.protobuf.message import Message

from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.rest.shape import problems


def found(message: type[Message], document: object) -> list[tuple[str, str]]:
    return [(problem.field, problem.rule) for problem in problems(message.DESCRIPTOR, document)]  # type: ignore[arg-type]  # One class in two spellings.


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"pageSize": 5, "page_token": "x"},
        {"pageSize": "5", "skip": 5.0},
        {"filter": {"startTime": "2026-01-01T00:00:00Z", "providers": ["openai"], "includeSandbox": True}},
        {"filter": None},
    ],
)
def test_a_readable_document_has_no_problems(document: object) -> None:
    assert found(analytics_pb.ListEventsRequest, document) == []


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], ("", "type")),
        ({"pagesize": 5}, ("pagesize", "unknown")),
        ({"filter": []}, ("filter", "type")),
        ({"filter": {"providrs": []}}, ("filter.providrs", "unknown")),
        ({"filter": {"providers": "openai"}}, ("filter.providers", "type")),
        ({"filter": {"providers": ["openai", None]}}, ("filter.providers[1]", "type")),
        ({"filter": {"includeSandbox": "true"}}, ("filter.includeSandbox", "type")),
        ({"filter": {"startTime": 1}}, ("filter.startTime", "type")),
        ({"pageSize": 1.5}, ("pageSize", "type")),
        ({"pageSize": True}, ("pageSize", "type")),
        ({"pageSize": "many"}, ("pageSize", "type")),
        ({"pageSize": 2**31}, ("pageSize", "range")),
        ({"pageToken": 7}, ("pageToken", "type")),
    ],
)
def test_a_problem_is_named_by_its_path(document: object, problem: tuple[str, str]) -> None:
    assert found(analytics_pb.ListEventsRequest, document) == [problem]


def test_every_problem_is_found_at_any_depth() -> None:
    document = {
        "events": [
            {"eventId": "evt", "lines": [{"attributes": {"size": 1024}}], "metadata": {"free": [None, {}]}},
            {"type": "TOKENS", "lines": [{"usage": {"quantities": [{"amount": "x"}, {"unit": 1}]}}]},
        ]
    }

    assert found(ingestion_pb.IngestEventsRequest, document) == [
        ("events[0].lines[0].attributes[size]", "type"),
        ("events[1].type", "enum"),
        ("events[1].lines[0].usage.quantities[0].amount", "type"),
        ("events[1].lines[0].usage.quantities[1].unit", "type"),
    ]


def test_an_unknown_name_of_a_value_is_answered_with_the_known_ones() -> None:
    (problem,) = problems(wallet_pb.WalletOwner.DESCRIPTOR, {"kind": "USER"})

    assert "OWNER_KIND_USER" in problem.message


@pytest.mark.parametrize("value", [2, "OWNER_KIND_TEAM"])
def test_a_value_may_be_given_by_number_or_name(value: object) -> None:
    assert found(wallet_pb.WalletOwner, {"kind": value}) == []


@pytest.mark.parametrize("value", [99, True, 1.5, ["OWNER_KIND_TEAM"]])
def test_anything_else_is_no_value(value: object) -> None:
    assert len(found(wallet_pb.WalletOwner, {"kind": value})) == 1
