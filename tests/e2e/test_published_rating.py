"""The published rating, burn tables, entitlements, analytics and sandbox, on the real platform.

defect  what it was                                     test that it is absent
B4      anybody changes any tenant's tables             test_another_tenant_s_objects_answer_like_random_ids
B8      camelCase estimates are ignored                 test_estimates_count_in_either_spelling
B10     camelCase rules charge null; dates are ignored  test_a_published_table_charges_what_it_says
B11     any wallet of the customer is taken             test_the_organization_s_own_wallet_counts
B12     any key mints credits in production             test_the_sandbox_is_closed_in_production
B14     fractional amounts are 500                      test_a_limit_is_stored_as_it_was_written
B16     burn is negative, alerts are the wrong way      test_burn_is_positive_and_runs_out
B17     calculate is always 500                         test_the_preview_is_what_is_charged
B18     models are cut at colons                        test_a_model_with_colons_stays_whole
B19     burn tables and rating analytics are 404        test_a_table_lives_through_its_operations,
                                                        test_costs_and_trends_add_up
B25     a limit of 0 is null                            test_a_limit_is_stored_as_it_was_written
B30     three prices for one call                       test_the_preview_is_what_is_charged
B31     limits of others, period null, lower case       test_a_limit_is_stored_as_it_was_written,
                                                        test_a_limit_of_another_user_does_not_count
B52     the clients' analytics are ignored              test_costs_and_trends_add_up
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from om_server.account.keys.key import KeyWish
from om_server.core.page import PageRequest
from om_server.rating.burn_table_operations import BurnTableOperations
from om_server.rating.catalogue import load_catalogue
from om_server.rating.store import TariffStore
from om_server.rating.tariff_source import StoredTariffs
from om_server.rest.app import RestSettings
from om_server.rest.app import serve as serve_rest
from om_server.rest.listener import listen
from om_server.rpc.caller import Scope
from tests.e2e.tenant import PATIENCE_S, Tenant, awaited

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.e2e.installation import Installation

_GPT = {"provider": "OPENAI", "model": "gpt-4o"}
_USED = {**_GPT, "inputTokens": 1000, "outputTokens": 500}
_HOUR_US = 3_600_000_000
_ACTION = {"type": "token_usage", **_GPT}


def _event(**more: object) -> dict[str, object]:
    base = {
        "event_type": "TOKEN_USAGE",
        "feature_id": "ai-chat",
        "user_id": "user_1",
        "provider": "OPENAI",
        "model": "gpt-4o",
        "input_tokens": 1000,
        "output_tokens": 500,
    }
    return {**base, **more}


def _report(tenant: Tenant, *events: dict[str, object]) -> list[dict[str, Any]]:
    """Report events and wait until they are settled; newest first."""
    named = [{"event_id": f"evt_{position}", **event} for position, event in enumerate(events)]
    tenant.post("/v1/events/ingest", {"events": named}, expect=202)

    def read() -> list[dict[str, Any]] | None:
        rows: list[dict[str, Any]] = tenant.get("/v1/events")["data"]
        return rows if len(rows) >= len(events) else None

    return awaited(read)


def _call(tenant: Tenant, verb: str, path: str, body: object = None, *, expect: int = 200) -> Any:
    headers = {"X-API-Key": tenant.key}
    answer = tenant.web.request(verb, path, headers=headers, json=body)
    assert answer.status_code == expect, answer.text
    return answer.json() if answer.content else None


@pytest.mark.acceptance("B-099", "B-111")
def test_the_preview_is_what_is_charged(installation: Installation) -> None:
    tenant = installation.tenant("100")

    preview = tenant.post("/v1/rating/calculate", _USED)
    check = tenant.post(
        "/v1/entitlements/check",
        {
            "userId": "user_1",
            "featureId": "ai-chat",
            "action": {**_ACTION, "estimatedInputTokens": 1000, "estimatedOutputTokens": 500},
        },
    )
    (row,) = _report(tenant, _event())

    assert (
        preview["credits"] == check["estimatedCostCredits"] == Decimal(row["creditsBurned"]) == Decimal("7.5")
    )
    assert preview["providerCostUsd"] == check["estimatedCostUsd"] == Decimal(row["costUsd"])
    assert (preview["costBreakdown"]["inputCostUsd"], preview["costBreakdown"]["outputCostUsd"]) == (
        Decimal("0.0025"),
        Decimal("0.005"),
    )


def test_what_has_no_price_is_an_error_and_not_zero(installation: Installation) -> None:
    tenant = installation.tenant("100")

    for usage in ({"inputTokens": 1, "outputTokens": 1}, {}):
        unknown = {"provider": "openai", "model": "nope", **usage}
        assert tenant.post("/v1/rating/calculate", unknown, expect=404) == {
            "error": "PROVIDER_NOT_FOUND",
            "message": "No cost data found for OPENAI/nope (Type: text)",
        }
    bulk = {"calculations": [_USED, {**_USED, "model": "nope"}]}
    assert tenant.post("/v1/rating/calculate/bulk", bulk, expect=404)["error"] == "PROVIDER_NOT_FOUND"
    check = {
        "userId": "u",
        "featureId": "f",
        "action": {"type": "token_usage", "provider": "openai", "model": "nope", "estimatedInputTokens": 1},
    }
    answer = tenant.post("/v1/entitlements/check", check)
    assert (answer["allowed"], answer["estimatedCostCredits"]) == (False, None)
    assert answer["reason"] == "No cost data found for OPENAI/nope (Type: text)"


def test_video_is_rated_by_its_length(installation: Installation) -> None:
    tenant = installation.tenant("100")
    video = {"provider": "OPENAI", "model": "sora-2", "type": "video"}

    short = tenant.post("/v1/rating/calculate", {**video, "durationSeconds": 1})
    long = tenant.post("/v1/rating/calculate", {**video, "durationSeconds": 8})

    assert long["credits"] == 8 * short["credits"] > 0


def test_the_whole_price_list_is_given(installation: Installation) -> None:
    tenant = installation.tenant()

    body = tenant.get("/v1/rating/pricing")

    assert body["total"] == len(body["data"]) > 200
    found = {(row["provider"], row["model"]): row["pricing"] for row in body["data"]}
    assert found["OPENAI", "gpt-4o"]["input_token"] == {
        "costPerUnit": Decimal("2.5"),
        "unitSize": 1_000_000,
        "currency": "USD",
    }
    assert found["GOOGLE", "veo-3-video"]["video"]["costPerUnit"] == Decimal("0.2")
    narrowed = tenant.get("/v1/rating/pricing?provider=openai&model=gpt-4o")
    assert [row["model"] for row in narrowed["data"]] == ["gpt-4o"]


@pytest.mark.acceptance("B-101")
def test_a_table_lives_through_its_operations(installation: Installation) -> None:
    tenant = installation.tenant("100")
    rules = {"gpt-4o": {"inputTokens": 5, "outputTokens": 20}, "default": {"flat_rate": 50}}

    default = tenant.get("/v1/burn-tables/active")
    made = tenant.post("/v1/burn-tables", {"name": "Mine", "rules": rules}, expect=201)["data"]
    listed = tenant.get("/v1/burn-tables?isActive=true")
    changed = _call(tenant, "PATCH", f"/v1/burn-tables/{made['id']}", {"name": "Ours"})["data"]
    gone = _call(tenant, "DELETE", f"/v1/burn-tables/{changed['id']}")

    assert (default["isDefault"], default["data"]["customerId"], default["data"]["id"]) == (
        True,
        None,
        "default",
    )
    assert (made["name"], made["version"], made["isActive"], made["validUntil"]) == ("Mine", 1, True, None)
    assert made["rules"] == {
        "gpt-4o": {"inputTokens": 5, "outputTokens": 20, "perUnit": 1000},
        "default": {"flatRate": 50, "perUnit": 1},
    }
    assert (listed["total"], listed["data"][0]) == (1, made)
    assert tenant.get(f"/v1/burn-tables/{made['id']}")["data"]["isActive"] is False
    assert (changed["name"], changed["rules"], changed["isActive"]) == ("Ours", made["rules"], True)
    assert changed["id"] != made["id"]
    assert gone == {"message": "Burn table deactivated successfully"}
    # It may charge less than what comes after it, so that its end is two minutes ahead as well.
    ended, replaced = tenant.get("/v1/burn-tables")["data"]
    assert (ended["id"], replaced["isActive"]) == (changed["id"], False)
    assert _minutes_ahead(ended["validUntil"]) < 3


@pytest.mark.parametrize(
    ("end", "active"),
    [(timedelta(days=-1), False), (timedelta(seconds=30), True), (timedelta(days=1), True)],
    ids=["past", "before-it-begins", "future"],
)
def test_a_table_with_an_end_always_ends(installation: Installation, end: timedelta, *, active: bool) -> None:
    tenant = installation.tenant("100")
    wish = {
        "name": "Mine",
        "rules": {"default": {"flatRate": 1}},
        "validUntil": (datetime.now(UTC) + end).isoformat(),
    }

    made = tenant.post("/v1/burn-tables", wish, expect=201)["data"]

    assert made["isActive"] is active
    if active:
        ends = datetime.fromisoformat(made["validUntil"])
        assert ends >= datetime.fromisoformat(made["validFrom"])
        assert ends - datetime.now(UTC) < max(end, timedelta(minutes=3))


@pytest.mark.parametrize(
    "rule",
    [
        {"inputTokens": 5, "outputTokens": 20},
        {"input_tokens": 5000, "output_tokens": 20000, "per_unit": 1_000_000},
    ],
    ids=["camel", "snake"],
)
@pytest.mark.acceptance("B-099", "B-101")
def test_a_published_table_charges_what_it_says(installation: Installation, rule: dict[str, int]) -> None:
    tenant = installation.tenant("100")
    made = tenant.post("/v1/burn-tables", {"name": "Mine", "rules": {"default": rule}}, expect=201)["data"]
    before = tenant.post("/v1/rating/calculate", _USED)

    _begun_before(installation, tenant, made["id"])
    preview = tenant.post("/v1/rating/calculate", _USED)
    (row,) = _report(tenant, _event())

    # Its date is two minutes ahead, and until then it does not decide.
    assert (before["credits"], before["pricingSource"]) == (Decimal("7.5"), "default")
    assert (preview["credits"], preview["pricingSource"]) == (15, "customer_burn_table")
    assert Decimal(row["creditsBurned"]) == 15
    assert tenant.get("/v1/burn-tables/active")["data"]["id"] == made["id"]


def _minutes_ahead(moment: str) -> float:
    return (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds() / 60


def _begun_before(installation: Installation, tenant: Tenant, burn_table_id: str) -> None:
    """Activate a table as if an hour ago, because a raise is two minutes ahead of who writes it now."""
    store = TariffStore(installation.stored.database)
    tariffs = StoredTariffs(installation.stored.database, store, load_catalogue().book())
    past = BurnTableOperations(
        installation.stored.database,
        store,
        tariffs=tariffs,
        ids=installation.platform.ids,
        clock=lambda: time.time_ns() // 1000 - _HOUR_US,
    )
    past.activate_burn_table(tenant.organization_id, burn_table_id)


def test_a_limit_is_stored_as_it_was_written(installation: Installation) -> None:
    tenant = installation.tenant("100")
    wish = {"featureId": "ai-chat", "limitType": "soft", "limitValue": 0, "period": "DAILY"}

    zero = tenant.post("/v1/entitlements", wish, expect=201)["data"]
    again = tenant.post("/v1/entitlements", wish, expect=201)["data"]
    path = f"/v1/entitlements/{zero['id']}"
    half = _call(tenant, "PUT", path, {"limitValue": 0.5, "metadata": {"plan": "free"}})["data"]
    unchanged = _call(tenant, "PUT", path)["data"]
    _call(tenant, "PUT", path, {"period": None})

    assert zero == {"id": zero["id"], "featureId": "ai-chat", "limitType": "SOFT", "limitValue": 0}
    assert again["id"] != zero["id"]
    assert half == unchanged == {**zero, "limitValue": 0.5}
    first, second = tenant.get("/v1/entitlements")["data"]
    assert (first["period"], second["period"]) == (None, "DAILY")
    assert first == {
        **half,
        "limitValue": Decimal("0.5"),
        "userId": None,
        "period": None,
        "metadata": {"plan": "free"},
        "currentUsage": 0,
        "unit": "credits",
    }
    assert tenant.get(f"/v1/customers/{tenant.organization_id}/entitlements")["data"][1] == {
        "featureId": "ai-chat",
        "isEnabled": True,
        "limitType": "SOFT",
        "limitValue": 0,
    }
    assert _call(tenant, "DELETE", path, expect=204) is None
    assert _call(tenant, "DELETE", path, expect=404)["message"] == "Entitlement not found"


def test_a_limit_of_another_user_does_not_count(installation: Installation) -> None:
    tenant = installation.tenant("100")
    limit = {"featureId": "ai-chat", "userId": "user_2", "limitType": "SOFT", "limitValue": 1}
    tenant.post("/v1/entitlements", limit, expect=201)
    action = {**_ACTION, "provider": "openai", "estimated_input_tokens": 1000}

    reasons = {
        user: tenant.post(
            "/v1/entitlements/check", {"userId": user, "featureId": "ai-chat", "action": action}
        )["reason"]
        for user in ("user_1", "user_2")
    }

    assert reasons == {"user_1": None, "user_2": "Usage limit of 1 reached (soft limit)"}


@pytest.mark.parametrize("name", ["estimatedInputTokens", "estimated_input_tokens"])
@pytest.mark.acceptance("B-103", "B-104")
def test_estimates_count_in_either_spelling(installation: Installation, name: str) -> None:
    tenant = installation.tenant("100")
    action = {**_ACTION, name: 10**12}

    answer = tenant.post("/v1/entitlements/check", {"userId": "u", "featureId": "f", "action": action})

    assert answer == {
        "allowed": False,
        "reason": "Insufficient credits",
        "estimatedCostCredits": 2_500_000_000,
        "estimatedCostUsd": 2_500_000,
        "currentBalance": 100,
        "actions": [{"type": "purchase", "label": "Purchase Credits", "url": "/credits/purchase"}],
    }


def test_costs_and_trends_add_up(installation: Installation) -> None:
    tenant = installation.tenant("100")
    _report(tenant, _event(), _event(provider="anthropic", model="claude-haiku-4-5"))
    today = time.strftime("%Y-%m-%d", time.gmtime())

    costs = tenant.get("/v1/analytics/costs")
    breakdown = tenant.get(f"/v1/analytics/cost-breakdown?start_date={today}&end_date={today}")
    trends = tenant.get("/v1/analytics/usage-trends?groupBy=month&userId=user_1")

    # Claude Haiku 4.5: 1,000 tokens at 1 dollar a million and 500 at 5 are 0.0035 dollars.
    assert costs["data"]["summary"] == {
        "totalRevenue": "0.0110",
        "totalProviderCost": "0.0110",
        "totalMargin": "0.0000",
        "marginPercent": 0,
    }
    assert [row["provider"] for row in costs["data"]["byProvider"]] == ["OPENAI", "ANTHROPIC"]
    assert breakdown["totals"] == {
        "totalInputTokens": 2000,
        "totalOutputTokens": 1000,
        "totalCreditsBurned": 11,
        "totalCostUsd": Decimal("0.011"),
        "totalEvents": 2,
    }
    assert breakdown["byProvider"]["OPENAI"] == {
        "costUsd": Decimal("0.0075"),
        "percentage": Decimal("68.18"),
    }
    assert breakdown["period"]["days"] == 1
    assert [(row["period"], row["eventCount"]) for row in trends["data"]] == [(today[:7], 2)]
    assert trends["data"][0]["totalCreditsBurned"] == 11


def test_a_model_with_colons_stays_whole(installation: Installation) -> None:
    tenant = installation.tenant("100")
    _report(tenant, _event(model="ft:gpt-4o:acme::id"))

    assert tenant.get("/v1/analytics/costs")["data"]["byProvider"][0]["model"] == "ft:gpt-4o:acme::id"
    assert tenant.get("/v1/analytics/cost-breakdown")["data"][0]["model"] == "ft:gpt-4o:acme::id"


def test_burn_is_positive_and_runs_out(installation: Installation) -> None:
    tenant = installation.tenant("100")
    _report(tenant, _event())

    rate = tenant.get("/v1/analytics/burn-rate")["data"]
    forecast = tenant.get("/v1/analytics/burn-forecast?days=2")

    assert rate["currentBalance"] == "92.5"
    assert rate["last7Days"] == {"creditsBurned": "7.5", "averagePerDay": "1.07"}
    assert rate["last30Days"] == {"creditsBurned": "7.5", "averagePerDay": "0.25"}
    assert rate["projectedRunout"]["daysRemaining"] == 86
    assert [item["type"] for item in rate["recommendations"]] == []
    assert (forecast["averageDailyBurn"], forecast["data"]["averageDailyBurn"]) == (Decimal("0.25"),) * 2
    assert [day["cumulativeBurn"] for day in forecast["forecast"]] == [Decimal("0.25"), Decimal("0.5")]
    assert forecast["projections"] == {
        "balanceAfterPeriod": 92,
        "daysUntilDepleted": 370,
        "willDeplete": False,
    }


def test_the_organization_s_own_wallet_counts(installation: Installation) -> None:
    tenant = installation.tenant("100")
    tenant.grant(5, user_id="user_1")
    _report(tenant, _event(user_id="user_2"))

    summary = tenant.get("/v1/analytics/summary")

    assert summary["creditBalance"] == {"available": Decimal("92.5"), "reserved": 0}
    assert tenant.get("/v1/analytics/burn-rate")["data"]["currentBalance"] == "92.5"
    assert tenant.get("/v1/analytics/burn-rate?userId=user_1")["data"]["currentBalance"] == "5"
    assert tenant.get("/v1/analytics/burn-forecast?userId=user_1")["forecast"] == []
    assert tenant.get("/v1/analytics/burn-rate?userId=nobody", expect=404) == {
        "error": "Not Found",
        "message": "Credit wallet not found",
    }
    assert (summary["lifetime"]["totalEvents"], summary["last30Days"]["eventCount"]) == (1, 1)
    (event,) = summary["recentActivity"]
    assert (event["id"], event["creditsBurned"]) == ("evt_0", Decimal("7.5"))
    assert tenant.get(f"/v1/analytics/summary/{tenant.organization_id}") == summary


def test_another_tenant_s_objects_answer_like_random_ids(installation: Installation) -> None:
    owner, other = installation.tenant("100"), installation.tenant("100")
    limit = {"featureId": "f", "limitType": "HARD", "limitValue": 1}
    entitlement = owner.post("/v1/entitlements", limit, expect=201)["data"]["id"]
    rules = {"default": {"flatRate": 1}}
    table = owner.post("/v1/burn-tables", {"name": "Mine", "rules": rules}, expect=201)["data"]["id"]
    calls = [
        ("PUT", "/v1/entitlements/{}", {"limitValue": 9}, entitlement),
        ("DELETE", "/v1/entitlements/{}", None, entitlement),
        ("GET", "/v1/burn-tables/{}", None, table),
        ("PATCH", "/v1/burn-tables/{}", {"isActive": False}, table),
        ("DELETE", "/v1/burn-tables/{}", None, table),
    ]

    for verb, path, body, object_id in calls:
        foreign = _call(other, verb, path.format(object_id), body, expect=404)
        random = _call(other, verb, path.format(f"{object_id[:4]}{'0' * 26}"), body, expect=404)
        assert foreign == random == _call(other, verb, path.format("no-id"), body, expect=404)
    assert other.get("/v1/entitlements")["data"] == other.get("/v1/burn-tables")["data"] == []
    assert owner.get("/v1/entitlements")["data"][0]["limitValue"] == 1
    assert owner.get(f"/v1/burn-tables/{table}")["data"]["isActive"] is True


def test_the_sandbox_is_closed_in_production(installation: Installation) -> None:
    tenant = installation.tenant("100")

    for verb, path in (("POST", "generate"), ("POST", "topup"), ("GET", "pricing")):
        refused = _call(tenant, verb, f"/v1/apiconsole/{path}", {"prompt": "hi", "amount": 5}, expect=403)
        assert refused["error"] == "Forbidden"
        assert refused["message"].startswith("The sandbox is not available here")
    assert tenant.get("/v1/credits/balance")["data"]["balance"] == "100"


@pytest.fixture(scope="module")
def development(installation: Installation) -> Iterator[httpx.Client]:
    """The same platform by a REST process of development."""
    url = installation.serve(_serving_development(installation.addresses.grpc))
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as web:
        yield web


@contextlib.asynccontextmanager
async def _serving_development(grpc_address: str) -> AsyncIterator[str]:
    listeners, stop = listen("127.0.0.1", (0,)), asyncio.Event()
    settings = RestSettings(grpc_target=grpc_address, environment="development")
    serving = asyncio.create_task(serve_rest(settings, listeners=listeners, stop=stop))
    try:
        yield f"http://127.0.0.1:{listeners[0].getsockname()[1]}"
    finally:
        stop.set()
        await serving


def test_the_sandbox_of_development_meters_and_charges_nothing(
    installation: Installation, development: httpx.Client
) -> None:
    known = installation.tenant()
    tenant = Tenant(known.organization_id, known.key, development)
    prompt = {"prompt": "Tell me a joke, please", "model": "gpt-4o"}

    poor = _call(tenant, "POST", "/v1/apiconsole/generate", prompt, expect=402)
    topped = _call(tenant, "POST", "/v1/apiconsole/topup", {"amount": 20498})
    answer = _call(tenant, "POST", "/v1/demo/generate", prompt)
    (row,) = awaited(lambda: tenant.get("/v1/events")["data"])
    prices = tenant.get("/v1/apiconsole/pricing")["data"]

    assert poor == {
        "error": "Payment Required",
        "message": "Insufficient credits. Please top up your wallet to continue using the sandbox.",
    }
    assert topped == {"success": True, "newBalance": "20498"}
    assert (answer["object"], answer["model"]) == ("chat.completion", "gpt-4o")
    assert answer["usage"] == {
        "prompt_tokens": 6,
        "completion_tokens": 150,
        "total_tokens": 156,
        "estimated_cost_credits": 1.515,
        "estimated_cost_usd": 0.001515,
    }
    assert (row["id"], row["featureId"], row["creditsBurned"]) == (answer["id"], "sandbox-llm", "0")
    assert tenant.get("/v1/credits/balance")["data"]["balance"] == "20498"
    assert {"INPUT_TOKEN", "OUTPUT_TOKEN"} <= prices[0]["pricing"].keys() | {"INPUT_TOKEN", "OUTPUT_TOKEN"}


def test_a_key_in_test_mode_may_simulate_and_not_mint(installation: Installation) -> None:
    known = installation.tenant("100")
    account = installation.platform.account
    (team,) = account.list_teams(known.organization_id, PageRequest(1, "")).items
    wish = KeyWish(team.team_id, scopes=frozenset(Scope), test_mode=True)
    secret = account.create_key(known.organization_id, wish).secret
    tenant = Tenant(known.organization_id, secret, installation.web)

    image = _call(tenant, "POST", "/v1/apiconsole/generate", {"prompt": "a cat", "type": "image", "count": 2})
    minted = _call(tenant, "POST", "/v1/apiconsole/topup", {"amount": 5}, expect=403)

    assert (image["object"], image["usage"]["image_count"]) == ("image.generation", 2)
    # Two images of 1024x1024 in high definition at 8 cents.
    assert image["usage"]["estimated_cost_credits"] == 160
    assert minted["message"].endswith("development, where credits are not worth anything")
