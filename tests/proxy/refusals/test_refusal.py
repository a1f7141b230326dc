from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import yaml

from om_proxy.refusals import problem
from om_proxy.refusals.refusal import Form, Problem, Refusal, Shape, credits_text, render
from tests.proxy.exchange import pairs
from tests.proxy.own_errors import MAKERS, makers_of_the_code, own_errors

ID = "req_1"

GOLDEN = yaml.safe_load((Path(__file__).parents[2] / "golden" / "refusals.yaml").read_text())


def rendered(what: Problem, shape: Shape) -> Refusal:
    return render(what, shape, request_id=ID)


@pytest.mark.acceptance("B-037", "B-039")
@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("what", [problem.missing_billing_headers(), problem.invalid_api_key()])
def test_two_published_bodies_are_the_same_bytes_on_every_route(shape: Shape, what: Problem) -> None:
    assert rendered(what, shape).body.decode() == GOLDEN["everyone"][what.code]


@pytest.mark.parametrize("shape", Shape)
def test_every_error_has_the_bytes_of_its_shape(shape: Shape) -> None:
    bodies = {name: rendered(what, shape).body.decode() for name, what in own_errors(shape).items()}

    assert bodies == GOLDEN["everyone"] | GOLDEN[shape.name]


def test_no_error_is_left_out() -> None:
    assert makers_of_the_code() == set(MAKERS)


@pytest.mark.parametrize("shape", Shape)
def test_every_body_can_be_parsed_by_that_providers_clients(shape: Shape) -> None:
    for name, what in own_errors(shape).items():
        error = orjson.loads(rendered(what, shape).body)["error"]
        assert error["message"] == what.message, name
        if shape is Shape.GEMINI and what.form is not Form.PUBLISHED:
            assert error["code"] == what.status, name
            assert isinstance(error.get("details", []), list), name


@pytest.mark.acceptance("B-036", "B-045", "B-046")
def test_the_published_statuses_are_kept() -> None:
    assert problem.missing_billing_headers().status == 400
    assert problem.invalid_api_key().status == 401
    assert problem.missing_provider_key(Shape.GEMINI).status == 401
    assert problem.upstream_unreachable(Shape.GEMINI, sent=True).status == 502
    assert problem.upstream_timeout(Shape.GEMINI).status == 504


def test_an_empty_wallet_says_what_is_needed_and_what_there_is() -> None:
    empty = problem.insufficient_credits(
        needed_nanos=12_500_000_000, available_nanos=300_000_001, output_tokens_max=40
    )
    refusal = rendered(empty, Shape.OPENAI)
    body = orjson.loads(refusal.body)

    assert refusal.status == 402
    assert body["error"]["code"] == body["error"]["type"] == "insufficient_credits"
    assert body["error"]["param"] is None
    assert body["error"]["status"] == "RESOURCE_EXHAUSTED"
    assert body["error"]["details"] == {
        "error_code": "insufficient_credits",
        "needed": "12.5",
        "available": "0.300000001",
        "output_tokens_max": "40",
    }
    assert body["type"] == "error"
    assert body["request_id"] == ID


def test_googles_clients_get_an_integer_code_and_a_list_of_details() -> None:
    refusal = rendered(problem.price_unknown(provider="google", model="gemini-9"), Shape.GEMINI)
    error = orjson.loads(refusal.body)["error"]

    assert error["code"] == 402
    assert error["status"] == "FAILED_PRECONDITION"
    assert error["details"] == [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "PRICE_UNKNOWN",
            "domain": "openmonetize.io",
            "metadata": {"provider": "google", "model": "gemini-9", "field": "model"},
        }
    ]


ALL = [what for what in own_errors(Shape.OPENAI).values() if not what.retry]


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("what", ALL, ids=lambda what: what.code)
def test_no_sdk_repeats_a_refused_call_by_itself(what: Problem, shape: Shape) -> None:
    refusal = rendered(what, shape)
    headers = pairs(refusal.headers)

    assert refusal.status == what.status
    assert headers["x-should-retry"] == "false"
    assert headers["x-request-id"] == headers["request-id"] == headers["x-om-request-id"] == ID
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    assert orjson.loads(refusal.body)["error"]["message"] == what.message


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize(
    "what",
    [problem.unavailable(), problem.upstream_unreachable(Shape.OPENAI, sent=False)],
    ids=lambda what: what.code,
)
def test_a_call_that_never_left_may_be_repeated(what: Problem, shape: Shape) -> None:
    headers = pairs(rendered(what, shape).headers)

    assert "x-should-retry" not in headers
    assert headers.get("retry-after") == ("1" if what.status == 503 else None)


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (-1_500_000_000, "-1.5"),
        (100_000_000_000, "100"),
        (2**62, "4611686018.427387904"),
    ],
)
def test_credits_are_written_exactly(nanos: int, text: str) -> None:
    assert credits_text(nanos) == text
