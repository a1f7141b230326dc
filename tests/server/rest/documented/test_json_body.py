from decimal import Decimal

import pytest
from google.protobuf import json_format

from om_server.rest.documented.json_body import JsonBody
from om_server.rest.errors import RequestMalformed


def problems(body: JsonBody) -> list[str]:
    with pytest.raises(RequestMalformed) as refused:
        body.check()
    return [f"{problem.field} {problem.message}" for problem in refused.value.fields]


def test_both_spellings_are_one_field_and_unknown_keys_are_ignored() -> None:
    assert JsonBody({"user_id": "u", "more": 1}).text("userId") == "u"
    assert JsonBody({"userId": "u"}).text("userId") == "u"


def test_everything_that_is_wrong_is_told_at_once() -> None:
    body = JsonBody({"name": 5, "amount": "1", "action": {"count": -1}})
    body.text("name")
    body.number("amount")
    body.nested("action").integer("count", least=0)

    assert problems(body) == [
        "body/name Invalid input: expected string, received number",
        "body/amount Invalid input: expected number, received string",
        "body/action/count Too small: expected number to be >=0",
    ]


def test_what_is_right_is_not_refused() -> None:
    body = JsonBody({"name": None, "count": Decimal("10.0"), "flag": False, "when": "2026-01-01T00:00:00"})

    assert (body.text("name"), body.given("name"), body.given("absent")) == ("", True, False)
    assert body.integer("count", least=0) == 10
    assert body.flag("flag") is False
    moment = body.moment("when")
    assert moment is not None
    assert moment.isoformat() == "2026-01-01T00:00:00+00:00"
    body.check()


@pytest.mark.parametrize(
    ("value", "nanos"),
    [(1, 10**9), (Decimal("0.000000001"), 1), (Decimal("123456789.123456789"), 123456789123456789), (0, 0)],
)
def test_an_amount_is_exact_to_the_nano(value: object, nanos: int) -> None:
    body = JsonBody({"amount": value})

    assert body.nanos("amount") == nanos
    body.check()


@pytest.mark.parametrize(
    "value",
    [
        Decimal("0.0000000001"),
        Decimal("1E+999999999"),
        Decimal("1E-999999999"),
        10**400,
        Decimal("1." + "0" * 30 + "1"),
        2**62,
        True,
    ],
)
def test_what_is_no_amount_is_refused_and_never_rounded(value: object) -> None:
    body = JsonBody({"amount": value})

    assert body.nanos("amount") is None
    assert problems(body)


def test_metadata_is_kept_as_it_was_sent() -> None:
    given = {
        "plan": "free",
        "seats": 5,
        "rate": Decimal("0.5"),
        "tags": ["a", None, True],
        "deep": {"a_b": 1},
    }
    found = JsonBody({"metadata": given}).struct("metadata")

    assert found is not None
    assert json_format.MessageToDict(found) == {**given, "rate": 0.5}


@pytest.mark.parametrize("levels", [17, 900])
def test_metadata_that_no_reader_could_take_is_refused(levels: int) -> None:
    value: dict[str, object] = {}
    for _ in range(levels):
        value = {"a": value}
    body = JsonBody({"metadata": value})

    assert body.struct("metadata") is None
    assert problems(body) == ["body/metadata Too big: expected at most 16 levels"]


@pytest.mark.parametrize("number", [10**400, Decimal("1E+400")])
def test_a_number_that_metadata_cannot_hold_is_refused(number: object) -> None:
    body = JsonBody({"metadata": {"n": number}})

    assert body.struct("metadata") is None
    assert problems(body)


@pytest.mark.parametrize("word", ["token_usage", "TOKEN-USAGE", "tokenUsage"])
def test_a_word_is_taken_in_any_spelling(word: str) -> None:
    assert JsonBody({"type": word}).choice("type", {"token_usage": 1}) == 1
