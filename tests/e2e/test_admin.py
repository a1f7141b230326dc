"""The administration of an installation and monthly quotas, over the real thing.

B37  duplicates and failures use the quota up       test_a_quota_counts_new_events_alone
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import httpx

from tests.e2e.installation import ADMIN_TOKEN, QUOTA, QUOTA_PLAN, SERVICE_TOKEN
from tests.e2e.tenant import awaited

if TYPE_CHECKING:
    from tests.e2e.installation import Installation
    from tests.e2e.tenant import Tenant


def asked(
    installation: Installation, path: str, *, method: str = "GET", token: str = ADMIN_TOKEN
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return installation.web.request(method, f"/v1/admin/{path}", headers=headers)


def registered(installation: Installation, tier: str) -> tuple[Tenant, dict[str, Any]]:
    body = {"name": f"Acme {uuid.uuid4()}", "email": f"{uuid.uuid4()}@acme.example", "tier": tier}
    answer = installation.web.post("/v1/customers/register", json=body)
    assert answer.status_code == 201, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return installation.known_tenant(data["customerId"], data["apiKey"]), data


def report(tenant: Tenant, *event_ids: str) -> httpx.Response:
    events = [
        {"event_id": one, "event_type": "API_CALL", "feature_id": "f", "timestamp": "2026-01-01T00:00:00Z"}
        for one in event_ids
    ]
    return tenant.web.post("/v1/events/ingest", json={"events": events}, headers={"X-API-Key": tenant.key})


def test_only_the_token_opens_the_administration(installation: Installation) -> None:
    tenant = installation.tenant()

    assert asked(installation, "me").json() == {"data": {"isSuperAdmin": True, "email": None, "name": None}}
    assert asked(installation, "me", token="").status_code == 401
    for token in (tenant.key, SERVICE_TOKEN, "wrong"):
        refused = asked(installation, "stats", token=token)
        assert (refused.status_code, refused.json()) == (
            403,
            {"error": "Forbidden", "message": "Super admin access required"},
        )
    # Nor does it open anything else.
    assert installation.web.get("/v1/users", headers={"X-API-Key": ADMIN_TOKEN}).status_code == 401


def test_organizations_are_found_counted_and_shown(installation: Installation) -> None:
    tenant, data = registered(installation, "GROWTH")
    tenant.grant(7)

    listed = asked(installation, f"customers?search={data['name']}&tier=growth&status=ACTIVE").json()
    one = asked(installation, f"customers/{data['customerId']}").json()
    stats = asked(installation, "stats").json()["data"]

    assert listed["pagination"] == {"total": 1, "limit": 50, "offset": 0}
    (row,) = listed["data"]
    assert row == {
        "id": data["customerId"],
        "name": data["name"],
        "email": data["email"],
        "tier": "GROWTH",
        "status": "ACTIVE",
        "createdAt": data["createdAt"],
        "suspendedAt": None,
        "userCount": 0,
        "creditBalance": 7,
    }
    assert one == {"data": row | {"totalUsageEvents": 0}}
    assert stats["customersByTier"]["GROWTH"] >= 1
    assert stats["totalCustomers"] == sum(stats["customersByStatus"].values())
    assert stats["recentCustomers"][0]["id"] == data["customerId"]
    assert asked(installation, "customers?limit=0").status_code == 400
    for unknown in (str(uuid.uuid4()), "org_none", "%00"):
        missing = asked(installation, f"customers/{unknown}")
        assert (missing.status_code, missing.json()["message"]) == (404, "Customer not found")


def test_a_suspended_organization_is_refused_everywhere(installation: Installation) -> None:
    tenant = installation.tenant("100")
    body = {"model": "gpt-4o", "max_tokens": 10, "messages": [{"role": "user", "content": "Hello!"}]}
    url = f"{installation.addresses.proxy}/v1/chat/completions"
    headers = tenant.billing() | {"Authorization": "Bearer sk-any"}

    def called() -> int:
        return httpx.post(url, headers=headers, json=body, timeout=20).status_code

    assert called() == 200
    path = f"customers/{tenant.organization_id}"

    suspended = asked(installation, f"{path}/suspend", method="POST").json()["data"]

    assert (suspended["status"], suspended["suspendedAt"] is None) == ("SUSPENDED", False)
    assert tenant.get("/v1/credits/balance", expect=401)
    awaited(lambda: called() == 401)
    # What the call before used is still charged.
    awaited(lambda: asked(installation, path).json()["data"]["totalUsageEvents"] == 1)

    asked(installation, f"{path}/activate", method="POST")

    assert tenant.get("/v1/credits/balance")
    awaited(lambda: called() == 200)


def test_a_quota_counts_new_events_alone(installation: Installation) -> None:
    tenant, _ = registered(installation, QUOTA_PLAN)

    first = report(tenant, "e1", "e2")
    again = report(tenant, "e1", "e2")
    too_many = report(tenant, "e3", "e4")
    last = report(tenant, "e3")

    left = [answer.headers["X-Monthly-Quota-Remaining"] for answer in (first, again, too_many, last)]
    assert left == ["1", "1", "1", "0"]
    assert [first.status_code, too_many.status_code, last.status_code] == [202, 402, 202]
    period = too_many.json()["details"]["period"]
    assert too_many.json() == {
        "error": "Payment Required",
        "message": f"Monthly quota exceeded ({QUOTA} events). Please upgrade your plan.",
        "details": {"currentUsage": 2, "limit": QUOTA, "period": period},
    }
    awaited(lambda: tenant.get("/v1/events")["pagination"]["total"] == 3)
    refused = tenant.post("/api/v1/events", {"events": [{"eventId": "e5", "lines": [_LINE]}]}, expect=402)
    assert refused["error"]["reason"] == "MONTHLY_QUOTA_EXCEEDED"


def test_without_a_quota_there_is_no_header(installation: Installation) -> None:
    answer = report(installation.tenant(), "e1", "e2", "e3", "e4")

    assert answer.status_code == 202
    assert "X-Monthly-Quota-Remaining" not in answer.headers


_LINE = {
    "provider": "openai",
    "model": "gpt-4o",
    "usage": {"quantities": [{"unit": "input_tokens", "amount": "5", "certainty": "CERTAINTY_MEASURED"}]},
}
