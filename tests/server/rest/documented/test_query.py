from datetime import UTC, datetime

import pytest

from om_server.rest.documented.query import Query
from om_server.rest.errors import RequestMalformed


def test_both_spellings_are_one_parameter() -> None:
    assert Query([("user_id", "u")]).text("userId") == "u"
    assert Query([("userId", "u")]).text("userId") == "u"


def test_an_empty_parameter_was_not_given() -> None:
    query = Query([("limit", ""), ("userId", "")])

    assert query.integer("limit", default=50, least=1, most=100) == 50
    assert query.text("userId") == ""


def test_a_list_is_split_at_commas_and_joined_from_repetition() -> None:
    assert Query([("model", "a, b"), ("model", "c,")]).texts("model") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("many", "querystring/limit Invalid input: expected number, received NaN"),
        ("1.5", "querystring/limit Invalid input: expected number, received NaN"),
        ("0", "querystring/limit Too small: expected number to be >=1"),
        ("101", "querystring/limit Too big: expected number to be <=100"),
    ],
)
def test_a_number_out_of_range_is_refused_as_published(text: str, message: str) -> None:
    with pytest.raises(RequestMalformed) as caught:
        Query([("limit", text)]).integer("limit", default=50, least=1, most=100)

    assert caught.value.message == message


def test_a_choice_is_read_in_any_case() -> None:
    choices = {"day": 1, "week": 2}

    assert Query([("group_by", "Week")]).choice("groupBy", choices, default=1) == 2
    with pytest.raises(RequestMalformed, match=r"querystring/groupBy .*\"day\"\|\"week\""):
        Query([("groupBy", "year")]).choice("groupBy", choices, default=1)


def test_times_are_read_and_refused_as_published() -> None:
    assert Query([("start_date", "2026-01-01")]).start("startDate") == datetime(2026, 1, 1, tzinfo=UTC)
    assert Query([]).start("startDate") is None
    for text in ("soon", "9999-12-31"):
        with pytest.raises(RequestMalformed, match="querystring/endDate Invalid ISO datetime"):
            Query([("endDate", text)]).end("endDate")
