from decimal import Decimal

import pytest

from om.type.v1 import usage_pb2
from om.type.v1.error_reason_pb2 import ErrorReason
from om.type.v1.money_pb2 import Money
from om.wallet.v1 import entitlement_service_pb2 as pb
from om_server.rest.documented.entitlement_check import check_body, read_check
from om_server.rest.documented.entitlement_row import feature_row, row
from om_server.rest.documented.json_body import JsonBody

NANO = 10**9
UNPRICED = "No cost data found for OPENAI/gpt-nope (Type: text)"
LIMIT = pb.Entitlement(
    entitlement_id="ent_1", feature_id="f", type=pb.LIMIT_TYPE_HARD, unit="credits", limit_value=1_500_000_000
)


def reply(*, allowed: bool, reason: str = "", available: int | None = 100, charge: int | None = 8) -> object:
    return check_body(
        pb.CheckEntitlementResponse(
            allowed=allowed,
            reason=ErrorReason.Value(f"ERROR_REASON_{reason or 'UNSPECIFIED'}"),
            estimated_charge=None if charge is None else Money(amount_nanos=charge * NANO),
            estimated_cost=None if charge is None else Money(amount_nanos=charge * NANO // 1000),
            available=None if available is None else Money(amount_nanos=available * NANO),
        ),
        LIMIT if reason == "LIMIT_REACHED" else None,
        unpriced=UNPRICED,
    )


def test_what_is_allowed_has_no_reason_and_no_actions() -> None:
    assert reply(allowed=True) == {
        "allowed": True,
        "reason": None,
        "estimatedCostCredits": 8,
        "estimatedCostUsd": Decimal("0.008"),
        "currentBalance": 100,
        "actions": [],
    }


@pytest.mark.parametrize(
    ("reason", "sentence", "actions"),
    [
        ("LIMIT_REACHED", "Usage limit of 1.5 reached", [("upgrade", "Increase Limit", "/upgrade")]),
        (
            "INSUFFICIENT_FUNDS",
            "Insufficient credits",
            [("purchase", "Purchase Credits", "/credits/purchase")],
        ),
        (
            "USER_WALLET_REQUIRED",
            "No credit wallet found",
            [("create_wallet", "Create Credit Wallet", "/credits/wallet")],
        ),
        ("PRICE_UNKNOWN", UNPRICED, []),
    ],
)
def test_every_refusal_has_its_published_sentence_and_action(
    reason: str, sentence: str, actions: list[tuple[str, str, str]]
) -> None:
    body = reply(allowed=False, reason=reason)

    assert isinstance(body, dict)
    assert (body["allowed"], body["reason"]) == (False, sentence)
    assert [(item["type"], item["label"], item["url"]) for item in body["actions"]] == actions


def test_a_soft_limit_warns_and_a_soft_wallet_asks_for_more() -> None:
    warned = reply(allowed=True, reason="LIMIT_REACHED")
    low = reply(allowed=True, available=3)

    assert isinstance(warned, dict)
    assert isinstance(low, dict)
    assert warned["reason"] == "Usage limit of 1.5 reached (soft limit)"
    assert low["reason"] == "Low credits - consider purchasing more"
    assert [item["type"] for item in low["actions"]] == ["purchase"]


def test_what_is_not_known_is_null_and_what_costs_nothing_is_zero() -> None:
    unknown = reply(allowed=True, available=None, charge=None)
    free = reply(allowed=True, available=0, charge=0)

    assert isinstance(unknown, dict)
    assert isinstance(free, dict)
    names = ("estimatedCostCredits", "estimatedCostUsd", "currentBalance")
    assert [unknown[name] for name in names] == [None, None, None]
    assert [free[name] for name in names] == [0, 0, 0]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ({"type": "token_usage", "estimatedInputTokens": Decimal("10.2")}, {"input_tokens": 11}),
        (
            {"type": "TOKEN-USAGE", "estimated_input_tokens": 10, "estimated_output_tokens": 0},
            {"input_tokens": 10, "output_tokens": 0},
        ),
        ({"type": "image_generation"}, {"images": 1}),
        ({"type": "image_generation", "estimated_count": 3}, {"images": 3}),
        ({"type": "video_generation", "estimatedDurationSeconds": Decimal("1.5")}, {"video_seconds": 1500}),
        ({"type": "video_generation"}, {}),
        ({"type": "token_usage"}, {}),
        ({"type": "api_call", "estimatedCount": 5}, {}),
        ({"type": "custom"}, {}),
    ],
)
def test_estimates_of_each_action_are_read_in_either_spelling(
    action: dict[str, object], expected: dict[str, int]
) -> None:
    named = {"provider": "openai", "model": "m", "imageSize": "1024x1024", **action}
    asked, _ = read_check(JsonBody({"userId": "u", "feature_id": "f", "action": named, "more": 1}))

    assert (asked.attribution.user_id, asked.attribution.feature_id) == ("u", "f")
    quantities = [quantity for line in asked.lines for quantity in line.usage.quantities]
    assert {quantity.unit: quantity.amount for quantity in quantities} == expected
    assert all(quantity.certainty == usage_pb2.CERTAINTY_ESTIMATED for quantity in quantities)
    assert all(line.attributes == {"size": "1024x1024"} for line in asked.lines)


def test_without_a_model_nothing_is_estimated() -> None:
    action = {"type": "token_usage", "provider": "openai", "estimatedInputTokens": 5}
    asked, _ = read_check(JsonBody({"userId": "u", "featureId": "f", "action": action}))

    assert not asked.lines


def test_a_limit_of_zero_is_zero_and_one_without_a_number_is_null() -> None:
    zero = pb.Entitlement(
        type=pb.LIMIT_TYPE_HARD, unit="credits", limit_value=0, window=pb.LIMIT_WINDOW_TOTAL
    )
    open_ended = pb.Entitlement(type=pb.LIMIT_TYPE_HARD, unit="credits", window=pb.LIMIT_WINDOW_DAY)

    assert (row(zero)["limitValue"], row(open_ended)["limitValue"]) == (0, None)
    assert (feature_row(zero)["isEnabled"], feature_row(open_ended)["isEnabled"]) == (False, True)


@pytest.mark.parametrize(
    ("unit", "steps", "shown"),
    [
        ("credits", 2_500_000_000, Decimal("2.5")),
        ("events", 7, 7),
        ("video_seconds", 1500, Decimal("1.5")),
        ("input_tokens", 100, 100),
        ("custom:pages", 2_500_000, Decimal("2.5")),
    ],
)
def test_what_is_used_is_shown_in_whole_units(unit: str, steps: int, shown: Decimal) -> None:
    limit = pb.Entitlement(
        type=pb.LIMIT_TYPE_SOFT,
        unit=unit,
        limit_value=steps,
        used_value=steps,
        window=pb.LIMIT_WINDOW_ROLLING,
    )

    assert (row(limit)["limitValue"], row(limit)["currentUsage"]) == (shown, shown)
    assert (row(limit)["unit"], row(limit)["period"]) == (unit, "ROLLING")
