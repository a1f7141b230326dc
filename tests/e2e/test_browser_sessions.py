"""A person with a browser, on either installation: a session that lives in a cookie."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import httpx

from tests.e2e.tenant import PATIENCE_S

if TYPE_CHECKING:
    from tests.e2e.installation import Installation

_PAGE = {"Sec-Fetch-Site": "same-origin"}


def test_a_person_signs_up_makes_a_key_and_signs_out_with_a_cookie_alone(installation: Installation) -> None:
    email = f"{secrets.token_hex(6)}@example.com"
    wish = {"email": email, "password": "correct horse battery", "organizationName": "A test"}
    with httpx.Client(base_url=installation.addresses.rest, timeout=PATIENCE_S) as browser:
        signed_up = browser.post("/api/v1/sign-up", json=wish, headers={**_PAGE, "X-OM-Session": "cookie"})
        assert signed_up.status_code == 200, signed_up.text
        assert "secret" not in signed_up.json()["session"]
        cookie = browser.cookies["om_session"]

        caller = browser.get("/api/v1/caller").json()
        assert caller["principal"] == "PRINCIPAL_OWNER"
        organization_id = signed_up.json()["session"]["organization"]["organizationId"]
        assert caller["organizationId"] == organization_id
        [team] = browser.get("/api/v1/teams").json()["teams"]
        asked = {"teamId": team["teamId"]}
        assert browser.post("/api/v1/keys", json=asked).status_code == 403
        made = browser.post("/api/v1/keys", json=asked, headers=_PAGE)
        assert made.status_code == 200, made.text
        by_key = {"Authorization": f"Bearer {made.json()['secret']}"}
        assert browser.get("/api/v1/caller", headers=by_key).json()["principal"] == "PRINCIPAL_KEY"
        assert browser.get("/api/aggregations/monthly").status_code == 200

        assert browser.post("/api/v1/sign-out", json={}, headers=_PAGE).status_code == 200
        assert "om_session" not in browser.cookies
        assert browser.get("/api/v1/caller").status_code == 401
        again = browser.get("/api/v1/caller", headers={"Cookie": f"om_session={cookie}"})
        assert again.status_code == 401
    assert cookie not in installation.logs()
