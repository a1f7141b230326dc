from decimal import Decimal

import pytest

from om.rating.v1 import rating_service_pb2 as pb
from om_server.rest.documented.burn_rules import read_rules, rules_body
from om_server.rest.documented.consumption import INPUT_UNITS, OUTPUT_UNITS
from om_server.rest.documented.json_body import JsonBody
from om_server.rest.errors import RequestMalformed


def read(rules: object) -> list[pb.BurnRule]:
    body = JsonBody({"rules": rules})
    found = read_rules(body, required=True)
    body.check()
    return found


@pytest.mark.parametrize(
    "rule",
    [
        {"inputTokens": Decimal("2.5"), "outputTokens": 10},
        {"input_tokens": Decimal("2.5"), "output_tokens": 10, "per_unit": 1000},
        {"inputTokens": 2500, "outputTokens": 10_000, "perUnit": 1_000_000, "unheard": "of"},
    ],
)
def test_either_spelling_is_the_same_rule_and_comes_back_in_camel_case(rule: dict[str, object]) -> None:
    (found,) = read({"gpt-4o": rule})

    rates = {rate.unit: rate.amount_per_million for rate in found.rates}
    assert rates == dict.fromkeys(INPUT_UNITS, "2500") | dict.fromkeys(OUTPUT_UNITS, "10000")
    assert rules_body([found]) == {
        "gpt-4o": {"inputTokens": Decimal("2.5"), "outputTokens": 10, "perUnit": 1000}
    }


def test_the_default_rule_comes_last_whatever_its_place() -> None:
    tokens = {"inputTokens": 1, "outputTokens": 1}

    found = read({"default": tokens, "gpt-4o": tokens, "gpt-5*": tokens})

    assert [rule.model_pattern for rule in found] == ["gpt-4o", "gpt-5*", ""]


def test_a_flat_rate_counts_pieces_and_seconds() -> None:
    (found,) = read({"image-generation": {"flat_rate": 50}})

    rates = {rate.unit: rate.amount_per_million for rate in found.rates}
    assert rates == {
        "images": "50000000",
        "requests": "50000000",
        "video_seconds": "50000",
        "audio_seconds": "50000",
    }
    assert rules_body([found]) == {"image-generation": {"flatRate": 50, "perUnit": 1}}


def test_what_a_rule_has_beside_is_shown_under_its_own_name() -> None:
    rule = pb.BurnRule(provider="openai", credits_per_cost="1200")

    assert rules_body([rule]) == {"openai": {"creditsPerUsd": 1200}}


@pytest.mark.parametrize("rules", [None, [], {"m": None}, {"": {"flatRate": 1}}, {"m": {"flatRate": -1}}])
def test_what_is_no_rule_is_refused(rules: object) -> None:
    with pytest.raises(RequestMalformed):
        read(rules)
