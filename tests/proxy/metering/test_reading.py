from __future__ import annotations

import orjson
import pytest

from om_proxy.metering.reading import RAW_USAGE_MAX, Fields, Flag, Line, Metered, parse_object, raw_usage_of
from om_proxy.metering.usage import Unit, usage_of


@pytest.mark.parametrize("value", [-1, 1.5, 10**9 + 1, 2**70, "5", True, [], {}])
def test_what_cannot_be_a_count_reads_as_absent_and_is_flagged(value: object) -> None:
    flags: set[Flag] = set()

    assert Fields({"tokens": value}, flags).count("tokens") is None
    assert flags == {Flag.USAGE_MALFORMED}


@pytest.mark.parametrize("raw", [{}, {"tokens": None}])
def test_absent_and_null_are_no_fault(raw: dict[str, object]) -> None:
    flags: set[Flag] = set()

    assert Fields(raw, flags).count("tokens") is None
    assert Fields(raw, flags).section("tokens").count("inner") is None
    assert flags == set()


def test_a_section_of_another_type_is_flagged() -> None:
    flags: set[Flag] = set()

    assert Fields({"details": [1]}, flags).section("details").count("tokens") is None
    assert flags == {Flag.USAGE_MALFORMED}


@pytest.mark.parametrize("value", ["", "x" * 256, "two\nlines", 7, None])
def test_a_name_that_cannot_be_stored_reads_as_absent(value: object) -> None:
    assert Fields({"model": value}, set()).text("model") is None


@pytest.mark.parametrize("document", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_no_object_is_none(document: bytes) -> None:
    assert parse_object(document) is None


def test_raw_usage_keeps_counts_and_no_text() -> None:
    usage: dict[str, object] = {
        "n": 1,
        "tier": "standard",
        "leak": "prompt " * 20,
        "k" * 65: 1,
        "deep": {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}},
        "list": [1, "x" * 65],
        "wide": list(range(300)),
    }

    assert orjson.loads(raw_usage_of(usage) or b"") == {
        "n": 1,
        "tier": "standard",
        "leak": None,
        "deep": {"a": {"b": {"c": {"d": {"e": None}}}}},
        "list": [1, None],
        "wide": None,
    }


def test_raw_usage_over_the_limit_is_dropped() -> None:
    usage: dict[str, object] = {f"key{number}": ["x" * 60] * 200 for number in range(200)}

    assert raw_usage_of(usage) is None
    assert len(raw_usage_of({"a": 1}) or b"") < RAW_USAGE_MAX


def test_a_reading_is_measured_only_if_every_quantity_is() -> None:
    exact = Line("openai", "m", "m", "standard", usage_of({Unit.INPUT_TOKENS: 1}))
    vague = Line("openai", "m", "m", "standard", usage_of({Unit.INPUT_TOKENS: None}))

    assert Metered((exact,)).measured
    assert not Metered((exact, vague)).measured
