"""Credits as published, over the real thing: purchases, grants, deductions, transactions, wallets.

Defects of the published implementation that are absent here, with the test that would find each:

B2   another organization reads a user's balance    test_credits_of_one_organization_are_nothing_to_another
B6   two organizations cannot have the same user    test_credits_of_one_organization_are_nothing_to_another
B7   keys are unique across organizations           test_a_key_of_one_organization_means_nothing_to_another
B9   paging parameters are always 400               test_transactions_are_paged_and_continue_one_another
B11  deduct takes from any user's wallet            test_a_deduction_is_taken_from_the_organization_alone
B13  concurrent purchases lose money                test_purchases_at_the_same_time_all_count
B14  fractional amounts fail                        test_fractional_amounts_are_kept_exactly
B16  a deduction is a positive burn                 test_a_deduction_is_a_negative_burn
B28  routes of the Python client are missing        test_the_python_client_s_routes_answer
B44  a burn does not tell which event               test_usage_is_a_negative_burn_that_names_its_event
B51  a key's payload is not checked                 test_a_key_with_another_request_is_a_conflict
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.tenant import awaited

if TYPE_CHECKING:
    import httpx

    from tests.e2e.installation import Installation
    from tests.e2e.tenant import Tenant

USER = "/v1/users/user_123"


def send(tenant: Tenant, path: str, body: object, *, key: str = "") -> httpx.Response:
    headers = {"X-API-Key": tenant.key} | ({"Idempotency-Key": key} if key else {})
    return tenant.web.post(path, json=body, headers=headers)


def grant(tenant: Tenant, amount: object, **more: object) -> dict[str, Any]:
    answer: dict[str, Any] = tenant.post("/v1/credits/grant", {"amount": amount, **more})["data"]
    return answer


def transactions(tenant: Tenant, query: str = "", path: str = USER) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tenant.get(f"{path}/transactions{query}")["data"]
    return rows


@pytest.mark.acceptance("B-103", "B-105")
def test_a_purchase_creates_the_wallet_and_answers_in_numbers(installation: Installation) -> None:
    tenant = installation.tenant()
    purchase = {"userId": "user_123", "customerId": "ignored", "amount": 5000, "purchasePrice": 50}

    answer = tenant.post("/v1/credits/purchase", purchase | {"expiresAt": "2100-01-01T00:00:00"})["data"]

    assert answer == {"transactionId": answer["transactionId"], "newBalance": 5000}
    assert tenant.get(f"{USER}/credits")["data"] == {
        "balance": 5000,
        "reserved": 0,
        "available": 5000,
        "expiresAt": "2100-01-01T00:00:00.000Z",
    }
    (row,) = transactions(tenant)
    assert row == {
        "id": answer["transactionId"],
        "transactionType": "PURCHASE",
        "amount": 5000,
        "balanceBefore": 0,
        "balanceAfter": 5000,
        "description": "Credit purchase: 5000 credits",
        "createdAt": row["createdAt"],
        "eventId": None,
    }
    assert row["createdAt"].endswith("Z")


@pytest.mark.acceptance("B-105")
def test_a_grant_answers_in_text(installation: Installation) -> None:
    tenant = installation.tenant()

    first = grant(tenant, 1000, reason="Welcome", metadata={"campaign": ["a"]})
    second = grant(tenant, 500)

    assert first == first | {"newBalance": "1000", "amount": "1000"}
    assert second == second | {"newBalance": "1500", "amount": "500", "walletId": first["walletId"]}
    assert tenant.get("/v1/credits/balance")["data"]["balance"] == "1500"


def test_a_grant_goes_to_the_user_before_the_team_before_the_customer(installation: Installation) -> None:
    tenant = installation.tenant()

    wallets = [
        grant(tenant, 1)["walletId"],
        grant(tenant, 1, customerId=tenant.organization_id)["walletId"],
        grant(tenant, 1, customerId="acme")["walletId"],
        grant(tenant, 1, customerId="acme", teamId="red")["walletId"],
        grant(tenant, 1, customerId="acme", teamId="red", userId="user_123")["walletId"],
    ]

    assert wallets[0] == wallets[1]
    assert len(set(wallets)) == 4
    assert tenant.get(f"{USER}/credits")["data"]["balance"] == 1


def test_fractional_amounts_are_kept_exactly(installation: Installation) -> None:
    tenant = installation.tenant()

    grant(tenant, 1.000000001, userId="user_123")
    purchase = {"userId": "user_123", "amount": 0.1, "purchasePrice": 0.01}
    answer = tenant.post("/v1/credits/purchase", purchase)["data"]

    assert answer["newBalance"] == Decimal("1.100000001")
    finer = send(tenant, "/v1/credits/purchase", purchase | {"amount": 0.1234567891})
    assert finer.status_code == 400
    assert finer.json()["message"] == "body/amount Invalid input: expected at most 9 decimals"


@pytest.mark.parametrize("place", ["header", "body"])
@pytest.mark.parametrize("path", ["purchase", "grant", "deduct"])
def test_a_key_counts_once(installation: Installation, path: str, place: str) -> None:
    tenant = installation.tenant("100")
    body: dict[str, object] = {"userId": "user_123", "amount": 10, "purchasePrice": 1}
    if path == "deduct":
        body = {"amount": 10}
    if place == "body":
        body["idempotencyKey"] = "once"

    first = send(tenant, f"/v1/credits/{path}", body, key="once" if place == "header" else "")
    again = send(tenant, f"/v1/credits/{path}", body, key="once" if place == "header" else "")

    assert first.status_code == 200, first.text
    assert again.json() == first.json()
    if path == "deduct":
        assert tenant.get("/v1/credits/balance")["data"]["balance"] == "90"
    else:
        assert tenant.get(f"{USER}/credits")["data"]["balance"] == 10


@pytest.mark.parametrize("path", ["purchase", "grant", "deduct"])
def test_a_key_with_another_request_is_a_conflict(installation: Installation, path: str) -> None:
    tenant = installation.tenant("100")
    body = {"userId": "user_123", "amount": 10, "purchasePrice": 1}
    assert send(tenant, f"/v1/credits/{path}", body, key="once").status_code == 200

    # The header decides; the key in the body is the second choice.
    other = send(tenant, f"/v1/credits/{path}", body | {"amount": 11, "idempotencyKey": "two"}, key="once")

    assert other.status_code == 409
    assert set(other.json()) == {"error", "message"}


def test_without_a_key_every_request_counts(installation: Installation) -> None:
    tenant = installation.tenant()

    grant(tenant, 10, userId="user_123")
    grant(tenant, 10, userId="user_123")

    assert tenant.get(f"{USER}/credits")["data"]["balance"] == 20


def test_a_key_of_one_organization_means_nothing_to_another(installation: Installation) -> None:
    ours, theirs = installation.tenant(), installation.tenant()

    first = grant(ours, 10, userId="user_123", idempotencyKey="shared")
    second = grant(theirs, 25, userId="user_123", idempotencyKey="shared")

    assert first["walletId"] != second["walletId"]
    assert second["newBalance"] == "25"


def test_credits_of_one_organization_are_nothing_to_another(installation: Installation) -> None:
    ours, theirs = installation.tenant(), installation.tenant()
    grant(ours, 10, userId="user_123")

    missing = {"error": "Not Found", "message": "Credit wallet not found"}
    assert theirs.get(f"{USER}/credits", expect=404) == missing
    assert theirs.get(f"{USER}/wallet", expect=404) == missing
    assert theirs.get(f"/v1/customers/{ours.organization_id}{USER[3:]}/credits", expect=404) == missing
    assert theirs.get(f"{USER}/transactions") == {
        "data": [],
        "pagination": {"limit": 50, "offset": 0, "total": 0},
    }
    grant(theirs, 3, userId="user_123")
    assert theirs.get(f"{USER}/credits")["data"]["balance"] == 3
    assert ours.get(f"{USER}/credits")["data"]["balance"] == 10


def test_the_python_client_s_routes_answer(installation: Installation) -> None:
    tenant = installation.tenant()
    grant(tenant, 10, userId="user_123")
    path = f"/v1/customers/{tenant.organization_id}/users/user_123"

    assert tenant.get(f"{path}/credits") == tenant.get(f"{USER}/credits")
    assert tenant.get(f"{path}/transactions?limit=5") == tenant.get(f"{USER}/transactions?limit=5")


def test_transactions_are_paged_and_continue_one_another(installation: Installation) -> None:
    tenant = installation.tenant()
    for number in range(1, 8):
        grant(tenant, number, userId="user_123")

    everything = transactions(tenant)
    pages = [row for offset in (0, 3, 6) for row in transactions(tenant, f"?limit=3&offset={offset}")]

    assert pages == everything
    assert [row["amount"] for row in everything] == [7, 6, 5, 4, 3, 2, 1]
    assert all(newer["balanceBefore"] == older["balanceAfter"] for newer, older in pairwise(everything))
    page = tenant.get(f"{USER}/transactions?limit=2&offset=5")["pagination"]
    assert page == {"limit": 2, "offset": 5, "total": 7}


@pytest.mark.parametrize("query", ["?limit=0", "?limit=101", "?limit=many", "?offset=-1"])
def test_a_page_that_cannot_be_is_refused(installation: Installation, query: str) -> None:
    refused = installation.tenant().get(f"{USER}/transactions{query}", expect=400)

    assert refused == refused | {"statusCode": 400, "code": "FST_ERR_VALIDATION", "error": "Bad Request"}


@pytest.mark.acceptance("B-098", "B-100", "B-107")
def test_usage_is_a_negative_burn_that_names_its_event(installation: Installation) -> None:
    tenant = installation.tenant()
    grant(tenant, 100, userId="user_123", reason="Welcome")
    usage = {"event_id": "evt_1", "user_id": "user_123", "provider": "openai", "model": "gpt-4o"}
    event = usage | {"input_tokens": 1000, "output_tokens": 500}

    tenant.post("/v1/events/ingest", {"events": [event]}, expect=202)
    burn, _ = awaited(lambda: rows if len(rows := transactions(tenant)) == 2 else None)

    assert burn == burn | {
        "transactionType": "BURN",
        "amount": Decimal("-7.5"),
        "balanceBefore": 100,
        "balanceAfter": Decimal("92.5"),
        "description": "AI usage credit burn",
        "eventId": "evt_1",
    }
    wallet = tenant.get(f"{USER}/wallet")
    assert wallet == {
        "userId": "user_123",
        "balance": Decimal("92.5"),
        "currency": "CREDITS",
        "status": "ACTIVE",
        "lastTransaction": {
            "amount": Decimal("-7.5"),
            "reason": "AI usage credit burn",
            "timestamp": burn["createdAt"],
        },
    }


def test_a_deduction_is_a_negative_burn(installation: Installation) -> None:
    tenant = installation.tenant()
    grant(tenant, 5000, customerId="acme")

    answer = tenant.post("/v1/credits/deduct", {"customerId": "acme", "amount": 5, "description": "A report"})

    assert answer == {"success": True, "remainingBalance": "4995", "transactionId": answer["transactionId"]}
    owner = "owner.kind=OWNER_KIND_CUSTOMER&owner.id=acme"
    newest = tenant.get(f"/api/v1/transactions?{owner}")["transactions"][0]
    assert newest["entryId"] == answer["transactionId"]
    assert (newest["amount"]["amountNanos"], newest["description"]) == (str(-5 * 10**9), "A report")


def test_a_deduction_is_taken_from_the_organization_alone(installation: Installation) -> None:
    tenant = installation.tenant()
    grant(tenant, 100, userId="user_123")

    missing = tenant.post("/v1/credits/deduct", {"amount": 5}, expect=404)
    grant(tenant, 10)
    done = tenant.post("/v1/credits/deduct", {"customerId": tenant.organization_id, "amount": 2.5})
    short = tenant.post("/v1/credits/deduct", {"amount": 8}, expect=402)

    assert missing["error"] == f"Credit wallet not found for customer {tenant.organization_id}"
    assert done["remainingBalance"] == "7.5"
    assert short["error"] == "Insufficient credits"
    assert tenant.get("/v1/credits/balance")["data"]["balance"] == "7.5"
    assert tenant.get(f"{USER}/credits")["data"]["balance"] == 100


def test_purchases_at_the_same_time_all_count(installation: Installation) -> None:
    tenant = installation.tenant()
    body = {"userId": "user_123", "amount": 10, "purchasePrice": 1}

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(tenant, "/v1/credits/purchase", body), range(16)))

    assert [answer.status_code for answer in answers] == [200] * 16
    assert tenant.get(f"{USER}/credits")["data"]["balance"] == 160
    assert sum(row["amount"] for row in transactions(tenant)) == 160
    assert sorted(answer.json()["data"]["newBalance"] for answer in answers) == list(range(10, 170, 10))


def test_a_user_without_a_wallet_has_no_transactions(installation: Installation) -> None:
    assert transactions(installation.tenant(), path="/v1/users/nobody") == []


_BAD = [
    ("grant", {}, "body/amount Invalid input: expected number, received undefined"),
    ("grant", {"amount": "ten"}, "body/amount Invalid input: expected number, received string"),
    ("grant", {"amount": 0.5}, "body/amount Too small: expected number to be >=1"),
    ("grant", {"amount": 1, "userId": ""}, "body/userId Too small: expected string to have >=1 characters"),
    ("grant", {"amount": 1, "metadata": []}, "body/metadata Invalid input: expected object, received array"),
    ("grant", {"amount": 1, "expiresAt": "soon"}, "body/expiresAt Invalid ISO datetime"),
    ("grant", {"amount": 1, "idempotencyKey": "k" * 256}, "body/idempotencyKey Too big"),
    ("purchase", {"amount": 1, "purchasePrice": 1}, "body/userId Invalid input: expected string"),
    ("purchase", {"userId": "u", "amount": -1, "purchasePrice": 1}, "body/amount Too small"),
    ("purchase", {"userId": "u", "amount": 10**30, "purchasePrice": 1}, "body/amount"),
    ("purchase", {"userId": "u" * 256, "amount": 1, "purchasePrice": 1}, "body/userId Too big"),
    ("purchase", [], "body/ Invalid input: expected object, received array"),
    ("deduct", {"amount": 0}, "body/amount Too small: expected number to be >0"),
]


@pytest.mark.parametrize(("path", "body", "message"), _BAD)
def test_a_wrong_body_is_refused_and_changes_nothing(
    installation: Installation, path: str, body: object, message: str
) -> None:
    tenant = installation.tenant("100")

    refused = tenant.post(f"/v1/credits/{path}", body, expect=400)

    assert message in refused["message"]
    assert tenant.get("/v1/credits/balance")["data"]["balance"] == "100"
    assert tenant.get("/api/v1/wallets")["wallets"] == tenant.get("/api/v1/wallets")["wallets"][:1]


@pytest.mark.parametrize("path", ["purchase", "grant", "deduct"])
def test_what_is_not_json_is_refused(installation: Installation, path: str) -> None:
    tenant = installation.tenant()
    headers = {"X-API-Key": tenant.key}

    broken = tenant.web.post(f"/v1/credits/{path}", content=b"{", headers=headers)
    empty = tenant.web.post(f"/v1/credits/{path}", headers=headers)
    stranger = tenant.web.post(f"/v1/credits/{path}", content=b"{")
    wrong_method = tenant.web.get(f"/v1/credits/{path}", headers=headers)

    assert (broken.status_code, empty.status_code, stranger.status_code) == (400, 400, 401)
    assert (wrong_method.status_code, wrong_method.json()["message"]) == (
        404,
        f"Route GET:/v1/credits/{path} not found",
    )


def test_an_expiry_in_the_past_is_refused(installation: Installation) -> None:
    tenant = installation.tenant()

    refused = tenant.post("/v1/credits/grant", {"amount": 1, "expiresAt": "2020-01-01T00:00:00Z"}, expect=400)

    assert "expire_time" in refused["message"]
    assert tenant.get("/v1/credits/balance")["data"]["balance"] == "0"
