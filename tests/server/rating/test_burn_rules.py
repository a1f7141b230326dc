import pytest

from om_server.rating.burn_rules import RateDraft, RuleDraft, compile_rules, find_flaws
from om_server.rating.flaw import FlawKind, RulesInvalid


def rated(*rates: RateDraft) -> RuleDraft:
    return RuleDraft(rates=rates)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (RuleDraft(), ["EMPTY rules[0]"]),
        (RuleDraft(minimum_nanos=1), ["EMPTY rules[0]"]),
        (RuleDraft(credits_per_cost="-1"), ["NEGATIVE rules[0].credits_per_cost"]),
        (RuleDraft(credits_per_cost="1e3"), ["NOT_DECIMAL rules[0].credits_per_cost"]),
        (RuleDraft(flat_nanos=-1), ["NEGATIVE rules[0].flat"]),
        (RuleDraft(flat_nanos=1, minimum_nanos=2**62 + 1), ["OUT_OF_RANGE rules[0].minimum"]),
        (RuleDraft(flat_nanos=1, cached_answer_nanos=-1), ["NEGATIVE rules[0].cached_answer"]),
        (rated(RateDraft("tokens", "1")), ["UNIT_UNKNOWN rules[0].rates[0]"]),
        (rated(RateDraft("reasoning_tokens", "1")), ["UNIT_INFORMATIONAL rules[0].rates[0]"]),
        (rated(RateDraft("images", "-0.5")), ["NEGATIVE rules[0].rates[0]"]),
        (rated(RateDraft("images", "free")), ["NOT_DECIMAL rules[0].rates[0]"]),
        (rated(RateDraft("images", "1", 0)), ["OUT_OF_RANGE rules[0].rates[0]"]),
        (rated(RateDraft("images", "1"), RateDraft("images", "2")), ["OVERLAP rules[0].rates[1]"]),
        (
            rated(
                RateDraft("images", "1", attributes=(("Size", "XL"),)),
                RateDraft("images", "2", attributes=(("size", "xl"),)),
            ),
            ["OVERLAP rules[0].rates[1]"],
        ),
        (
            rated(RateDraft("images", "1"), RateDraft("images", "2", attributes=(("size", "xl"),))),
            ["ATTRIBUTES rules[0].rates[1]"],
        ),
        (rated(RateDraft("images", "1", context_threshold=9)), ["GAP rules[0].rates"]),
        (RuleDraft(flat_nanos=1, free_units=(("images", 1),)), ["FREE_UNRATED rules[0].free.images"]),
        (
            RuleDraft(rates=(RateDraft("images", "1"),), free_units=(("images", 0),)),
            ["OUT_OF_RANGE rules[0].free.images"],
        ),
        (
            RuleDraft(rates=(RateDraft("images", "1"),), free_units=(("images", 1), ("images", 2))),
            ["OVERLAP rules[0].free"],
        ),
        (
            rated(RateDraft("tokens", "-1"), RateDraft("images", "x")),
            ["UNIT_UNKNOWN rules[0].rates[0]", "NEGATIVE rules[0].rates[0]", "NOT_DECIMAL rules[0].rates[1]"],
        ),
    ],
)
def test_every_flaw_is_found_at_its_place(rule: RuleDraft, expected: list[str]) -> None:
    assert [f"{flaw.kind} {flaw.place}" for flaw in find_flaws([rule])] == expected
    with pytest.raises(RulesInvalid) as raised:
        compile_rules([rule])
    assert (raised.value.reason, raised.value.metadata["field"]) == ("PRICE_INVALID", expected[0].split()[1])


@pytest.mark.parametrize(
    ("earlier", "later", "hidden"),
    [
        (RuleDraft(flat_nanos=1), RuleDraft(feature_id="chat", flat_nanos=2), True),
        (RuleDraft(model_pattern="*", flat_nanos=1), RuleDraft(model_pattern="gpt-*", flat_nanos=2), True),
        (RuleDraft(provider="GEMINI", flat_nanos=1), RuleDraft(provider="google", flat_nanos=2), True),
        (
            RuleDraft(feature_id="a", flat_nanos=1),
            RuleDraft(feature_id="a", model_pattern="x", flat_nanos=2),
            True,
        ),
        (RuleDraft(feature_id="a", flat_nanos=1), RuleDraft(feature_id="b", flat_nanos=2), False),
        (RuleDraft(feature_id="a", flat_nanos=1), RuleDraft(flat_nanos=2), False),
        (
            RuleDraft(model_pattern="gpt-4*", flat_nanos=1),
            RuleDraft(model_pattern="gpt-*", flat_nanos=2),
            False,
        ),
    ],
)
def test_a_rule_that_can_never_decide_is_a_flaw(
    earlier: RuleDraft, later: RuleDraft, *, hidden: bool
) -> None:
    flaws = list(find_flaws([earlier, later]))

    assert [flaw.kind for flaw in flaws] == ([FlawKind.UNREACHABLE] if hidden else [])


def test_sound_rules_are_compiled_as_they_were_written() -> None:
    draft = RuleDraft(
        feature_id="chat",
        credits_per_cost="1.5",
        rates=(RateDraft("images", "1", 1, (("size", "xl"),)), RateDraft("input_tokens", "2")),
        free_units=(("images", 2),),
        cached_answer_nanos=7,
    )

    [rule] = compile_rules([draft])

    assert (rule.feature_id, rule.credits_per_cost, rule.free_units) == ("chat", "1.5", (("images", 2),))
    assert [(rate.unit, rate.price, rate.per, rate.attributes) for rate in rule.rates] == [
        ("images", "1", 1, (("size", "xl"),)),
        ("input_tokens", "2", 1_000_000, ()),
    ]
    assert rule.cached_answer_nanos == 7


def test_an_error_says_how_many_more_there_are() -> None:
    drafts = [RuleDraft(feature_id="x", credits_per_cost="-1"), RuleDraft()]

    with pytest.raises(RulesInvalid, match=r"negative \(NEGATIVE\), and 1 more") as raised:
        compile_rules(drafts, place="burn_table.rules")

    assert raised.value.field == "burn_table.rules[0].credits_per_cost"
    assert [flaw.kind for flaw in raised.value.flaws] == [FlawKind.NEGATIVE, FlawKind.EMPTY]
