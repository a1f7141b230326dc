"""Customers and end users as published, over the real thing.

Defects of the published implementation that are absent here, with the test that would find each:

B1   Google's sign-in gives anybody's key away      test_google_s_sign_in_is_gone_and_gives_nothing_away
B6   an id that another organization uses           test_a_user_of_one_organization_is_nobody_to_another
B6   a user whom an event named cannot be created   test_a_user_whom_an_event_named_can_still_be_registered
B40  keys are kept in a form that can be read back  test_a_key_is_shown_once
B46  anybody registers any number of organizations  tests/server/account/registration/test_operations.py
B49  a stranger learns of shapes before the key     test_a_stranger_learns_nothing_of_shapes
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.tenant import awaited

if TYPE_CHECKING:
    from tests.e2e.installation import Installation
    from tests.e2e.tenant import Tenant


def registered(installation: Installation, **more: object) -> dict[str, Any]:
    body = {"name": "Acme", "email": f"{uuid.uuid4()}@acme.example", **more}
    answer = installation.web.post("/v1/customers/register", json=body)
    assert answer.status_code == 201, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def tenant_of(installation: Installation, data: dict[str, Any]) -> Tenant:
    return installation.known_tenant(data["customerId"], data["apiKey"])


def test_a_new_customer_has_a_key_that_works_and_no_wallet(installation: Installation) -> None:
    data = registered(installation, tier="growth", unknown="ignored")
    tenant = tenant_of(installation, data)

    assert set(data) == {"customerId", "apiKey", "name", "email", "tier", "createdAt"}
    assert (data["name"], data["tier"]) == ("Acme", "GROWTH")
    # A strict client reads it as a UUID.
    assert str(uuid.UUID(data["customerId"])) == data["customerId"]
    assert data["apiKey"].startswith("om_live_")
    assert tenant.get("/v1/customers/me")["data"] == {
        "id": data["customerId"],
        "name": "Acme",
        "email": data["email"],
        "tier": "GROWTH",
        "status": "ACTIVE",
        "createdAt": data["createdAt"],
    }
    assert tenant.get("/api/v1/wallets") == {"wallets": [], "nextPageToken": ""}


def test_the_published_id_names_the_organization(installation: Installation) -> None:
    data = registered(installation)
    tenant = tenant_of(installation, data)

    tenant.post("/v1/credits/grant", {"customerId": data["customerId"], "amount": 10})

    assert tenant.get("/v1/credits/balance")["data"]["balance"] == "10"
    assert tenant.get(f"/v1/events?customerId={data['customerId']}")["data"] == []


def test_an_address_registers_once_in_any_case(installation: Installation) -> None:
    data = registered(installation)
    body = {"name": "Other", "email": data["email"].upper()}

    again = installation.web.post("/v1/customers/register", json=body)

    assert again.status_code == 409
    assert again.json() == {"error": "Conflict", "message": "A customer with this email already exists"}
    assert tenant_of(installation, data).get("/v1/customers/me")["data"]["name"] == "Acme"


def test_registering_needs_no_key_and_a_wrong_one_is_ignored(installation: Installation) -> None:
    body = {"name": "Acme", "email": f"{uuid.uuid4()}@acme.example"}
    headers = {b"authorization": b"Bearer om_live_wrong\xe9"}

    assert installation.web.post("/v1/customers/register", json=body, headers=headers).status_code == 201


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"email": "a@b.example"}, "body/name Invalid input: expected string, received undefined"),
        ({"name": "", "email": "a@b.example"}, "body/name Too small"),
        ({"name": "n" * 256, "email": "a@b.example"}, "body/name Too big"),
        ({"name": "Acme", "email": "nowhere"}, "body/email Invalid email address"),
        ({"name": "Acme", "email": "a@b.example", "tier": "FREE"}, "body/tier Invalid option"),
        ([], "body/ Invalid input: expected object, received array"),
    ],
)
def test_a_wrong_registration_is_refused(installation: Installation, body: object, message: str) -> None:
    answer = installation.web.post("/v1/customers/register", json=body)

    assert answer.status_code == 400
    assert set(answer.json()) == {"error", "message"}
    assert message in answer.json()["message"]


def test_a_key_is_shown_once(installation: Installation) -> None:
    data = registered(installation)
    tenant = tenant_of(installation, data)

    for path in ("/v1/customers/me", "/api/v1/keys", "/api/v1/organization"):
        assert data["apiKey"] not in str(tenant.get(path))


def test_a_rotated_key_ends_at_once(installation: Installation) -> None:
    data = registered(installation)
    old = tenant_of(installation, data)

    fresh = old.post("/v1/customers/rotate-key", {})["data"]["apiKey"]
    new = installation.known_tenant(data["customerId"], fresh)

    assert old.get("/v1/customers/me", expect=401)["message"] == "Invalid or missing API key"
    assert new.get("/v1/customers/me")["data"]["id"] == data["customerId"]
    # The published clients send no body at all.
    bodiless = installation.web.post("/v1/customers/rotate-key", headers={"X-API-Key": fresh})
    assert bodiless.status_code == 200


@pytest.mark.parametrize("known", [True, False])
def test_google_s_sign_in_is_gone_and_gives_nothing_away(installation: Installation, *, known: bool) -> None:
    email = registered(installation)["email"] if known else "nobody@nowhere.example"

    answer = installation.web.post("/v1/auth/google", json={"email": email, "name": "Anybody"})

    assert answer.status_code == 410
    assert set(answer.json()) == {"error", "message"}
    assert (answer.json()["error"], "om_live_" in answer.text) == ("Gone", False)


@pytest.mark.parametrize("path", ["/v1/users", "/v1/credits/grant", "/v1/events/dlq/replay"])
def test_a_stranger_learns_nothing_of_shapes(installation: Installation, path: str) -> None:
    for headers in ({}, {"X-API-Key": "om_live_wrong"}):
        answer = installation.web.post(path, json={"amount": "wrong"}, headers=headers)

        assert answer.status_code == 401
        assert answer.json()["error"] == "Unauthorized"


def test_a_user_is_created_listed_and_shown(installation: Installation) -> None:
    tenant = installation.tenant()
    body = {"externalUserId": "user_123", "email": "Ada@example.com", "metadata": {"plan": ["a", 1]}}

    created = tenant.post("/v1/users", body, expect=201)["data"]

    assert created == {"id": "user_123", **body, "createdAt": created["createdAt"]}
    (row,) = tenant.get("/v1/users?search=ADA")["data"]
    assert row == {**created, "updatedAt": row["updatedAt"], "creditBalance": 0, "totalEvents": 0}
    assert tenant.get("/v1/users?search=bob")["pagination"] == {"limit": 50, "offset": 0, "total": 0}
    again = tenant.post("/v1/users", body, expect=409)
    assert again == {"error": "Conflict", "message": "A user with this external ID already exists"}


def test_a_user_has_what_it_owns_and_what_it_used(installation: Installation) -> None:
    tenant = installation.tenant()
    for name in ("ada", "bob", "eve"):
        tenant.post("/v1/users", {"externalUserId": name}, expect=201)
        amount = {"ada": 100, "bob": 2.5}.get(name)
        if amount:
            tenant.post("/v1/credits/grant", {"userId": name, "amount": amount})
    usage = {"user_id": "ada", "provider": "openai", "model": "gpt-4o", "input_tokens": 1000}
    # Long before the last thirty days, which would be the default range.
    old = usage | {"event_id": "old", "timestamp": "2025-12-01T00:00:00Z"}
    tenant.post("/v1/events/ingest", {"events": [usage | {"event_id": "new"}, old]}, expect=202)
    tenant.events(2)

    rows = {row["id"]: row for row in tenant.get("/v1/users")["data"]}
    shown = tenant.get("/v1/users/ada")["data"]

    assert {name: (row["creditBalance"], row["totalEvents"]) for name, row in rows.items()} == {
        "ada": (95, 2),
        "bob": (2.5, 0),
        "eve": (0, 0),
    }
    assert shown == {**rows["ada"], **{name: shown[name] for name in shown.keys() - rows["ada"].keys()}}
    assert (shown["reservedBalance"], shown["totalCreditsBurned"]) == (0, 5)
    assert [(event["id"], event["creditsBurned"]) for event in shown["recentEvents"]] == [
        ("new", 2.5),
        ("old", 2.5),
    ]


def test_users_are_paged(installation: Installation) -> None:
    tenant = installation.tenant()
    for number in range(5):
        tenant.post("/v1/users", {"externalUserId": f"user_{number}"}, expect=201)

    page = tenant.get("/v1/users?limit=2&offset=3")

    assert [row["id"] for row in page["data"]] == ["user_3", "user_4"]
    assert page["pagination"] == {"limit": 2, "offset": 3, "total": 5}
    tenant.get("/v1/users?limit=101", expect=400)


def test_a_user_whom_an_event_named_can_still_be_registered(installation: Installation) -> None:
    tenant = installation.tenant()
    event = {"event_id": "evt_1", "user_id": "user_123", "event_type": "API_CALL"}
    tenant.post("/v1/events/ingest", {"events": [event]}, expect=202)
    awaited(lambda: tenant.get("/v1/users")["data"])

    tenant.post("/v1/users", {"externalUserId": "user_123", "email": "a@b.example"}, expect=201)
    tenant.post("/v1/credits/purchase", {"userId": "user_123", "amount": 1, "purchasePrice": 1})

    shown = tenant.get("/v1/users/user_123")["data"]
    assert (shown["email"], shown["totalEvents"], shown["creditBalance"]) == ("a@b.example", 1, 1)


def test_a_user_of_one_organization_is_nobody_to_another(installation: Installation) -> None:
    ours, theirs = installation.tenant(), installation.tenant()
    ours.post("/v1/users", {"externalUserId": "user_123", "email": "ours@example.com"}, expect=201)

    missing = theirs.get("/v1/users/user_123", expect=404)
    theirs.post("/v1/users", {"externalUserId": "user_123"}, expect=201)

    assert missing == {"error": "Not Found", "message": "User not found"}
    assert theirs.get("/v1/users/user_123")["data"]["email"] is None
    assert theirs.get("/v1/users?search=ours")["data"] == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "body/externalUserId Invalid input: expected string, received undefined"),
        ({"externalUserId": ""}, "body/externalUserId Too small"),
        ({"externalUserId": "u" * 256}, "body/externalUserId Too big"),
        ({"externalUserId": "u", "email": "nowhere"}, "body/email Invalid email address"),
        ({"externalUserId": "u", "metadata": "text"}, "body/metadata Invalid input: expected object"),
    ],
)
def test_a_wrong_user_is_refused(installation: Installation, body: object, message: str) -> None:
    tenant = installation.tenant()

    refused = tenant.post("/v1/users", body, expect=400)

    assert set(refused) == {"error", "message"}
    assert message in refused["message"]
    assert tenant.get("/v1/users")["data"] == []
