"""What was called through the proxy is in every aggregation, with its exact cost."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.e2e.tariff import cost_nanos
from tests.e2e.tenant import PATIENCE_S, Tenant, quantities

if TYPE_CHECKING:
    from tests.e2e.installation import Installation

_NANO = 10**9
_CALLS = {
    # By route: the model, the name its price is filed under, and what the call says of itself.
    "openai/chat/completions": ("gpt-4o", "openai", {"prompt_key": "summarizer", "version": 2}),
    "anthropic/messages": (
        "claude-haiku-4-5",
        "anthropic",
        {"prompt_key": "chat", "feature_tags": ["onboarding", "email"]},
    ),
}


def _call(installation: Installation, tenant: Tenant, route: str, **headers: str) -> None:
    model, _, metadata = _CALLS[route]
    answer = httpx.post(
        f"{installation.addresses.proxy}/api/proxy/v1/{route}",
        headers={"Authorization": f"Bearer {tenant.key}", "X-Provider-Key": "a-provider-key", **headers},
        json={
            "model": model,
            "max_tokens": 64,
            "messages": [{"role": "user", "content": "What does a smart meter do?"}],
            "_aipromptcost": metadata,
        },
        timeout=PATIENCE_S,
    )
    assert answer.status_code == 200, answer.text


def _costs(events: list[dict[str, Any]]) -> dict[str, Decimal]:
    """Dollars by provider, worked out from what was consumed."""
    found = {}
    for event in events:
        (line,) = event["event"]["lines"]
        provider = line["provider"]
        (model,) = (model for model, filed_under, _ in _CALLS.values() if filed_under == provider)
        found[provider] = Decimal(cost_nanos(provider, model, quantities(line))) / _NANO
    return found


@pytest.mark.acceptance(
    "B-173", "B-176", "B-177", "B-178", "B-179", "B-180", "B-181", "B-191", "B-193", "B-195", "B-197", "B-200"
)
def test_calls_are_in_every_aggregation_with_their_exact_cost(installation: Installation) -> None:
    tenant = installation.tenant("100")
    for route in _CALLS:
        _call(installation, tenant, route)
    cost = _costs(tenant.events(len(_CALLS)))
    everything = sum(cost.values())

    def read(path: str) -> Any:
        return tenant.get(f"/api/aggregations/{path}")

    def shown(path: str, field: str, name: str) -> dict[object, tuple[Decimal, int]]:
        return {row[name]: (row["total_cost"], row["request_count"]) for row in read(path)[field]}

    monthly = read("monthly")
    assert (monthly["total_cost"], monthly["request_count"], monthly["unrated_count"]) == (everything, 2, 0)
    assert shown("by-prompt", "prompts", "prompt_key") == {
        "summarizer": (cost["openai"], 1),
        "chat": (cost["anthropic"], 1),
    }
    assert list(shown("by-team", "teams", "team_name").values()) == [(everything, 2)]
    (key,) = read("by-key")["keys"]
    assert (key["total_cost"], key["request_count"]) == (everything, 2)
    assert key["team_name"] == read("by-team")["teams"][0]["team_name"]
    assert tenant.key not in json.dumps(key, default=str)
    assert shown("by-tag", "tags", "tag") == dict.fromkeys(["onboarding", "email"], (cost["anthropic"], 1))
    assert {(row["provider"], row["total_cost"]) for row in read("by-model")["models"]} == set(cost.items())
    for path, field in (("by-feature", "features"), ("by-customer", "customers"), ("by-user", "users")):
        assert sum(row["total_cost"] for row in read(path)[field]) == everything
    assert sum(point["total_cost"] for point in read("trend?timezone=Asia/Kolkata")["points"]) == everything
    assert read("monthly?provider=Anthropic")["total_cost"] == cost["anthropic"]
    (version,) = (
        row
        for row in read("version-comparison?prompt_key=summarizer")["versions"]
        if row["version_number"] == 2
    )
    assert (version["total_cost"], version["request_count"]) == (cost["openai"], 1)
    assert version["avg_cost_per_request"] == cost["openai"]


def test_what_the_aggregations_sum_is_what_the_ledger_charged(installation: Installation) -> None:
    tenant = installation.tenant("100")
    for route in _CALLS:
        _call(installation, tenant, route)
    tenant.events(len(_CALLS))

    charged = 100 * _NANO - tenant.funds_at_rest().available

    # 1,000 credits are one dollar where no rule says otherwise.
    assert tenant.get("/api/aggregations/monthly")["total_cost"] * 1_000 == Decimal(charged) / _NANO


def test_the_sandbox_is_in_no_aggregation(installation: Installation) -> None:
    tenant = installation.tenant("100")
    _call(installation, tenant, "openai/chat/completions", **{"X-Sandbox": "true"})
    tenant.event()

    monthly = tenant.get("/api/aggregations/monthly")

    assert (monthly["total_cost"], monthly["request_count"]) == (0, 0)


def test_another_organization_s_spend_is_not_shown(installation: Installation) -> None:
    ours, theirs = installation.tenant("100"), installation.tenant("100")
    _call(installation, ours, "openai/chat/completions")
    ours.event()

    assert theirs.get("/api/aggregations/monthly")["request_count"] == 0
    assert theirs.get("/api/aggregations/by-prompt")["prompts"] == []
    assert theirs.get("/api/aggregations/version-comparison?prompt_key=summarizer")["versions"] == []
