"""The published REST operations tell the truth about calls that were made through the proxy."""

from __future__ import annotations

import re
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.official_clients import OFFICIAL_CLIENTS, OPENAI, OfficialClient, Question
from tests.e2e.tariff import charge_nanos, cost_nanos, tokens
from tests.e2e.tenant import Funds, Tenant, awaited

if TYPE_CHECKING:
    from tests.e2e.installation import Installation

_NANO = Decimal(10**9)
_PRICED_MODELS = {"openai": "gpt-4o", "anthropic": "claude-haiku-4-5", "google": "gemini-2.0-flash"}
_LOADED = re.compile(r"""(?:src|href|url)\s*[=:(]\s*["']([^"']+)["']""")


def _listed(tenant: Tenant) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tenant.get("/v1/events")["data"]
    return rows


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", OFFICIAL_CLIENTS, ids=lambda client: client.provider)
@pytest.mark.acceptance("B-031")
def test_a_call_appears_in_the_list_of_events(
    installation: Installation, client: OfficialClient, *, stream: bool
) -> None:
    tenant = installation.tenant("100")
    question = Question(client.model, stream=stream)

    answer = client.ask(installation.addresses.proxy, tenant.billing(), question)
    (row,) = awaited(lambda: _listed(tenant))

    usage = {"input_tokens": tokens(question.prompt), "output_tokens": tokens(answer)}
    priced = (client.provider, _PRICED_MODELS[client.provider])
    assert (row["provider"], row["model"]) == (client.provider.upper(), client.served_model)
    assert (row["eventType"], row["featureId"]) == ("TOKEN_USAGE", "ai-chat")
    assert row["inputTokens"] == str(usage["input_tokens"])
    assert row["outputTokens"] == str(usage["output_tokens"])
    assert Decimal(row["creditsBurned"]) == charge_nanos(*priced, usage) / _NANO
    assert Decimal(row["costUsd"]) == cost_nanos(*priced, usage) / _NANO


def test_the_balance_falls_by_what_was_charged(installation: Installation) -> None:
    tenant = installation.tenant("100")
    assert tenant.get("/v1/credits/balance") == {
        "data": {"balance": "100", "reservedBalance": "0", "availableBalance": "100", "currency": "credits"}
    }

    OPENAI.ask(installation.addresses.proxy, tenant.billing(), Question("gpt-4o", prompt="Hi there"))
    tenant.event()

    # 2 tokens at 2.50 dollars a million and 16 at 10 are 0.000165 dollars.
    assert tenant.get("/v1/credits/balance") == {
        "data": {
            "balance": "99.835",
            "reservedBalance": "0",
            "availableBalance": "99.835",
            "currency": "credits",
        }
    }


def test_a_user_s_own_wallet_pays_and_is_shown_in_numbers(installation: Installation) -> None:
    tenant = installation.tenant("100")
    missing = tenant.get("/v1/users/user_123/credits", expect=404)
    assert missing == {"error": "Not Found", "message": "Credit wallet not found"}
    tenant.grant(5, user_id="user_123")

    OPENAI.ask(installation.addresses.proxy, tenant.billing(), Question("gpt-4o", prompt="Hi there"))
    tenant.event()

    assert tenant.get("/v1/users/user_123/credits") == {
        "data": {
            "balance": Decimal("4.835"),
            "reserved": 0,
            "available": Decimal("4.835"),
            "expiresAt": None,
        }
    }
    assert tenant.funds() == Funds(100 * 10**9, 0)


def test_analytics_adds_up_what_was_called(installation: Installation) -> None:
    tenant = installation.tenant("100")
    usages = {}
    for client in OFFICIAL_CLIENTS:
        question = Question(client.model)
        answer = client.ask(installation.addresses.proxy, tenant.billing(), question)
        usages[client] = {"input_tokens": tokens(question.prompt), "output_tokens": tokens(answer)}
    tenant.events(len(OFFICIAL_CLIENTS))

    body = tenant.get("/v1/analytics/usage")

    charges = {
        client.provider.upper(): charge_nanos(client.provider, _PRICED_MODELS[client.provider], usage) / _NANO
        for client, usage in usages.items()
    }
    summary = body["data"]["summary"]
    assert summary["totalEvents"] == len(OFFICIAL_CLIENTS)
    assert summary["totalInputTokens"] == str(sum(usage["input_tokens"] for usage in usages.values()))
    assert summary["totalOutputTokens"] == str(sum(usage["output_tokens"] for usage in usages.values()))
    assert Decimal(summary["totalCreditsBurned"]) == sum(charges.values())
    assert body["totalCredits"] == sum(charges.values())
    assert body["totalCostUsd"] == sum(charges.values()) / 1_000
    assert {name: group["credits"] for name, group in body["byProvider"].items()} == charges
    (feature,) = body["data"]["byFeature"]
    assert (feature["featureId"], feature["eventCount"]) == ("ai-chat", len(OFFICIAL_CLIENTS))
    assert sum(period["events"] for period in body["data"]["timeline"]) == len(OFFICIAL_CLIENTS)
    assert body["unratedEvents"] == 0


def test_reported_events_are_charged_once_however_often_they_are_sent(installation: Installation) -> None:
    tenant = installation.tenant("100")
    event = {
        "event_id": "0b9e3a52-5b0c-4e0e-9d0a-3f6a1d1d7f10",
        "customer_id": "acme",
        "user_id": "user_123",
        "event_type": "TOKEN_USAGE",
        "feature_id": "ai-chat",
        "provider": "OPENAI",
        "model": "gpt-4o",
        "input_tokens": 1000,
        "output_tokens": 500,
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }

    first = tenant.post("/v1/events/ingest", {"events": [event]}, expect=202)
    (row,) = awaited(lambda: _listed(tenant))
    again = tenant.post("/v1/events/ingest", {"events": [event]})

    assert (first["accepted"], first["rejected"], first["duplicates"]) == (1, 0, 0)
    assert (again["accepted"], again["duplicates"], again["status"]) == (0, 1, "all_duplicates")
    assert (row["id"], row["timestamp"][:19]) == (event["event_id"], str(event["timestamp"])[:19])
    # 1,000 tokens at 2.50 dollars a million and 500 at 10.
    assert (row["creditsBurned"], row["costUsd"]) == ("7.5", "0.0075000000")
    assert tenant.get("/v1/credits/balance")["data"]["availableBalance"] == "92.5"
    assert tenant.get("/v1/events")["pagination"]["total"] == 1


def test_health_and_readiness_need_no_key(installation: Installation) -> None:
    health = installation.web.get("/health")
    ready = installation.web.get("/ready")

    assert (health.status_code, health.json()["status"]) == (200, "ok")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert ready.json()["checks"] == {"database": True, "ingestionService": True, "ratingEngine": True}


def test_the_interactive_document_loads_nothing_from_elsewhere(installation: Installation) -> None:
    page = installation.web.get("/docs")
    start = installation.web.get("/docs/start.js")

    loaded = _LOADED.findall(page.text) + _LOADED.findall(start.text)
    assert {"/docs/start.js", "/docs/openapi.json"} <= set(loaded)
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    for address in loaded:
        assert address.startswith("/"), address
        assert not address.startswith("//"), address
        answer = installation.web.get(address)
        assert (answer.status_code, bool(answer.content)) == (200, True), address
    assert "/v1/events/ingest" in installation.web.get("/docs/openapi.json").json()["paths"]
