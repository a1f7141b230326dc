"""A browser's session in a cookie, and requests that other sites make a browser send."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from google.api import annotations_pb2

from om_server.rest.browser_session import presenters
from om_server.rest.cookies import Cookies
from om_server.rpc.contract import SERVICES
from om_server.schema import MODELS
from om_server.storage.sqlite import SqliteStore
from tests.oidc_provider import running_provider
from tests.server.account.people.house import PASSWORD
from tests.server.rest.house import (
    ORIGIN,
    OWN_PAGE,
    House,
    new_person,
    open_house,
    signed_up,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

_SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@pytest_asyncio.fixture(scope="module", loop_scope="session", name="house")
async def serve_house(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    path = tmp_path_factory.mktemp("house") / "om.db"
    shutil.copy(sqlite_template, path)
    database = SqliteStore(path, MODELS)
    with running_provider() as provider:
        async with open_house(database, provider) as house:
            yield house
    database.close()


async def _status(browser: httpx.AsyncClient, path: str = "/api/v1/caller", **headers: str) -> int:
    return (await browser.get(path, headers=headers)).status_code


def _line(answer: httpx.Response) -> list[str]:
    return answer.headers["set-cookie"].split("; ")


async def test_a_page_gets_its_session_as_a_cookie_that_no_script_reads(house: House) -> None:
    async with house.browser() as browser:
        answer = await browser.post("/api/v1/sign-up", json=new_person(), headers=OWN_PAGE)

    name_value, *attributes = _line(answer)
    assert name_value.startswith("__Host-om_session=oms_")
    assert {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"} < set(attributes)
    [life] = [int(part.removeprefix("Max-Age=")) for part in attributes if part.startswith("Max-Age=")]
    assert 30 * 86_400 - 60 < life <= 30 * 86_400
    assert "secret" not in answer.json()["session"]
    assert answer.json()["session"]["member"]["displayName"] == "Ada"
    assert "oms_" not in answer.text
    assert answer.headers["cache-control"] == "no-store"


async def test_a_cookie_of_a_plain_origin_has_a_plain_name(house: House) -> None:
    async with house.browser(secure=False) as browser:
        answer = await browser.post("/api/v1/sign-up", json=new_person(), headers=OWN_PAGE)

        assert _line(answer)[0].startswith("om_session=oms_")
        assert "Secure" not in _line(answer)
        assert await _status(browser) == 200


async def test_a_program_gets_its_session_in_the_body_and_no_cookie(house: House) -> None:
    async with house.browser() as program:
        answer = await program.post("/api/v1/sign-up", json=new_person())

        assert "set-cookie" not in answer.headers
        bearer = {"Authorization": f"Bearer {answer.json()['session']['secret']}"}
        assert await _status(program, **bearer) == 200


@pytest.mark.parametrize(
    "path", ["/api/v1/caller", "/v1/customers/me", "/api/aggregations/monthly", "/v1/credits/balance"]
)
async def test_the_cookie_opens_every_family_of_routes(house: House, path: str) -> None:
    async with house.browser() as browser:
        assert await _status(browser, path) == 401
        await signed_up(browser)

        answer = await browser.get(path)

    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"


async def test_a_credential_in_a_header_goes_before_the_cookie(house: House) -> None:
    async with house.browser() as browser:
        await signed_up(browser)

        assert await _status(browser, Authorization="Bearer om_live_nothing") == 401
        assert await _status(browser, **{"X-API-Key": "om_live_nothing"}) == 401
        assert await _status(browser, Authorization="Basic cHJveHk6cHJveHk=") == 200


async def test_a_cookie_of_the_wrong_name_is_none(house: House) -> None:
    async with house.browser() as browser:
        await signed_up(browser)
        [secret] = [cookie.value for cookie in browser.cookies.jar]
    async with house.browser() as browser:
        assert await _status(browser, Cookie=f"om_session={secret}") == 401
        assert await _status(browser, Cookie=f"__Host-om_session={secret}") == 200
        odd = await browser.get("/api/v1/caller", headers={b"Cookie": b"__Host-om_session=\xff"})
        assert odd.status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": ORIGIN}, 200),
        ({"Origin": ORIGIN}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://om.example.evil.example"}, 403),
        ({"Origin": "https://om.example:8443"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://"}, 403),
        ({}, 403),
    ],
)
async def test_with_the_cookie_a_write_has_to_come_from_an_own_page(
    house: House, headers: dict[str, str], status: int
) -> None:
    async with house.browser() as browser:
        await signed_up(browser)

        answer = await browser.post("/api/v1/teams", json={"displayName": "Backend"}, headers=headers)
        teams = (await browser.get("/api/v1/teams", headers=headers)).json()["teams"]

    assert answer.status_code == status, answer.text
    assert len(teams) == (2 if status == 200 else 1)
    if status == 403:
        assert answer.json()["error"]["reason"] == "CSRF_REFUSED"


async def test_the_host_that_was_asked_is_an_own_page_too(house: House) -> None:
    async with house.browser() as browser:
        await signed_up(browser)
        body = {"displayName": "Backend"}
        headers = {"Host": "10.0.0.7:3000", "Origin": "http://10.0.0.7:3000"}

        assert (await browser.post("/api/v1/teams", json=body, headers=headers)).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_every_method_that_may_change_something_is_looked_at(house: House, method: str) -> None:
    async with house.browser() as browser:
        await signed_up(browser)

        refused = await browser.request(method, "/api/v1/members/mem_1")

    assert refused.status_code == 403


async def test_a_documented_route_refuses_in_its_own_form(house: House) -> None:
    async with house.browser() as browser:
        await signed_up(browser)

        answer = await browser.post("/v1/credits/purchase", json={"amount": 5})

    assert answer.status_code == 403
    assert answer.json()["error"] == "Forbidden"


async def test_a_program_with_a_bearer_token_needs_no_origin(house: House) -> None:
    async with house.browser() as program:
        secret = (await program.post("/api/v1/sign-up", json=new_person())).json()["session"]["secret"]
        bearer = {"Authorization": f"Bearer {secret}"}

        answer = await program.post("/api/v1/teams", json={"displayName": "Backend"}, headers=bearer)

    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["sign-up", "sign-in", "invites/accept", "oidc/sign-in"])
async def test_another_site_cannot_sign_a_browser_in(house: House, path: str) -> None:
    async with house.browser() as browser:
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {}):
            asked = {"X-OM-Session": "cookie", **headers}
            answer = await browser.post(f"/api/v1/{path}", json={}, headers=asked)

            assert answer.status_code == 403
            assert answer.json()["error"]["reason"] == "CSRF_REFUSED"
        # Without the header, which no form can send and no script across origins may, there is no cookie.
        person = new_person()
        await browser.post("/api/v1/sign-up", json=person, headers={"Sec-Fetch-Site": "cross-site"})
        assert not list(browser.cookies.jar)


async def test_sign_out_ends_the_session_and_takes_the_cookie_away(house: House) -> None:
    async with house.browser() as browser:
        await signed_up(browser)
        [kept] = [cookie.value for cookie in browser.cookies.jar]

        forged = await browser.post("/api/v1/sign-out", json={})
        assert forged.status_code == 403
        answer = await browser.post("/api/v1/sign-out", json={}, headers=_SAME_ORIGIN)

        assert answer.status_code == 200
        assert "Max-Age=0" in _line(answer)
        assert not list(browser.cookies.jar)
        assert await _status(browser) == 401
        assert await _status(browser, Cookie=f"__Host-om_session={kept}") == 401


async def test_who_still_has_an_ended_session_signs_in_again(house: House) -> None:
    person = new_person()
    async with house.browser() as browser:
        await browser.post("/api/v1/sign-up", json=person, headers=OWN_PAGE)
        [kept] = [cookie.value for cookie in browser.cookies.jar]
        await browser.post("/api/v1/sign-out", json={}, headers=_SAME_ORIGIN)
        browser.cookies.set("__Host-om_session", kept or "", domain="om.example")

        credentials = {"email": person["email"], "password": PASSWORD}
        answer = await browser.post("/api/v1/sign-in", json=credentials, headers=OWN_PAGE)

    assert answer.status_code == 200


@pytest.mark.acceptance("B-230")
async def test_whoever_is_removed_is_out_at_once(house: House) -> None:
    async with house.browser() as owner, house.browser() as member:
        await signed_up(owner)
        email = new_person()["email"]
        invite = {"email": email, "role": "ROLE_MEMBER"}
        await owner.post("/api/v1/invites", json=invite, headers=_SAME_ORIGIN)
        secret = house.mail.secret(email, "join")
        joined = await member.post(
            "/api/v1/invites/accept", json={"secret": secret, "password": PASSWORD}, headers=OWN_PAGE
        )
        assert joined.status_code == 200, joined.text
        assert await _status(member) == 200
        member_id = joined.json()["session"]["member"]["memberId"]

        removed = await owner.delete(f"/api/v1/members/{member_id}", headers=_SAME_ORIGIN)

        assert removed.status_code == 200
        assert await _status(member) == 401
        assert await _status(owner) == 200


async def test_every_rpc_that_begins_a_session_can_give_a_cookie() -> None:
    beginning = {
        rpc.path
        for rpcs in SERVICES.values()
        for rpc in rpcs
        if _has_http(rpc.path) and "session" in rpc.response_type.DESCRIPTOR.fields_by_name
    }

    assert beginning
    assert beginning < presenters(Cookies(ORIGIN, clock=lambda: 0)).keys()


def _has_http(path: str) -> bool:
    service, _, name = path.rpartition("/")
    [rpc] = [rpc for rpc in SERVICES[service] if rpc.name == name]
    methods = rpc.request_type.DESCRIPTOR.file.services_by_name[service.rpartition(".")[2]].methods_by_name
    return bool(methods[name].GetOptions().HasExtension(annotations_pb2.http))
