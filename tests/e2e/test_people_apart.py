"""People of two organizations, where PostgreSQL guards the rows of each from the server itself."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import httpx

from tests.e2e.tenant import PATIENCE_S

if TYPE_CHECKING:
    from tests.e2e.processes import Processes

_PASSWORD = "correct horse battery"


def _signed_up(web: httpx.Client, email: str) -> dict[str, str]:
    wish = {"email": email, "password": _PASSWORD, "organizationName": "A test", "displayName": "An owner"}
    return _credential(web.post("/api/v1/sign-up", json=wish))


def _credential(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == httpx.codes.OK, answer.text
    return {"Authorization": f"Bearer {answer.json()['session']['secret']}"}


def _read(web: httpx.Client, path: str, credential: dict[str, str]) -> Any:
    answer = web.get(path, headers=credential)
    assert answer.status_code == httpx.codes.OK, answer.text
    return answer.json()


def test_owners_sign_up_and_in_and_see_their_own_people_and_keys(processes: Processes) -> None:
    emails = [f"{secrets.token_hex(6)}@example.com" for _ in range(2)]
    with httpx.Client(base_url=processes.addresses.rest, timeout=PATIENCE_S) as web:
        for email in emails:
            _signed_up(web, email)
            again = web.post("/api/v1/sign-in", json={"email": email, "password": _PASSWORD})
            owner = _credential(again)
            members = _read(web, "/api/v1/members", owner)["members"]
            assert [member["email"] for member in members] == [email]
            (team,) = _read(web, "/api/v1/teams", owner)["teams"]
            made = web.post("/api/v1/keys", json={"teamId": team["teamId"]}, headers=owner)
            assert made.status_code == httpx.codes.OK, made.text
            key = {"Authorization": f"Bearer {made.json()['secret']}"}
            assert len(_read(web, "/api/v1/keys", owner)["keys"]) == 1
            assert _read(web, "/api/v1/caller", key)

        taken = web.post(
            "/api/v1/sign-up",
            json={"email": emails[0], "password": _PASSWORD, "organizationName": "Another"},
        )
        assert taken.status_code == httpx.codes.CONFLICT, taken.text
