"""A browser's way through the identity provider: cookies, redirects, and answers that say what went wrong."""

import shutil
import urllib.parse
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from om_server.schema import MODELS
from om_server.storage.sqlite import SqliteStore
from tests.oidc_provider import running_provider
from tests.server.rest.house import ORIGIN, OWN_PAGE, House, new_person, open_house, signed_up

pytestmark = pytest.mark.asyncio(loop_scope="session")

_START, _CALLBACK = "/api/v1/oidc/start", "/api/v1/oidc/callback"
_SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@pytest_asyncio.fixture(scope="module", loop_scope="session", name="running")
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


@pytest.fixture(name="house")
def house_with_honest_provider(running: House) -> House:
    running.provider.reset()
    return running


def _sign_in(house: House, authorization_url: str) -> dict[str, str]:
    """What the provider sends the browser back with."""
    return house.provider.come_back(authorization_url)


def _names(browser: httpx.AsyncClient) -> set[str]:
    return {cookie.name for cookie in browser.cookies.jar}


async def test_a_browser_goes_through_the_provider_and_is_signed_in(house: House) -> None:
    async with house.browser() as browser:
        start = await browser.get(_START, params={"returnPath": "/wallets?tab=1"})
        assert start.status_code == 303
        assert _names(browser) == {"__Host-om_oidc"}
        assert {"HttpOnly", "Secure", "SameSite=Lax", "Max-Age=600"} < set(
            start.headers["set-cookie"].split("; ")
        )

        back = await browser.get(_CALLBACK, params=_sign_in(house, start.headers["location"]))

        assert (back.status_code, back.headers["location"]) == (303, f"{ORIGIN}/wallets?tab=1")
        assert (back.headers["cache-control"], back.headers["referrer-policy"]) == ("no-store", "no-referrer")
        assert _names(browser) == {"__Host-om_session"}
        members = (await browser.get("/api/v1/members")).json()["members"]
        assert [member["email"] for member in members] == [house.provider.person["email"]]


async def test_a_page_starts_with_an_invite_and_keeps_the_flow_as_a_cookie(house: House) -> None:
    async with house.browser() as owner, house.browser() as browser:
        await signed_up(owner)
        email = house.provider.person["email"]
        invite = {"email": email, "role": "ROLE_MEMBER"}
        await owner.post("/api/v1/invites", json=invite, headers=_SAME_ORIGIN)
        asked = {"inviteSecret": house.mail.secret(email, "join")}
        start = await browser.post("/api/v1/oidc/sign-in", json=asked, headers=OWN_PAGE)
        assert start.json().keys() == {"authorizationUrl"}

        back = await browser.get(_CALLBACK, params=_sign_in(house, start.json()["authorizationUrl"]))

        assert (back.status_code, back.headers["location"]) == (303, f"{ORIGIN}/")
        ours = (await owner.get("/api/v1/organization")).json()
        assert (await browser.get("/api/v1/organization")).json() == ours


async def test_the_start_that_anybody_may_link_to_takes_no_invite(house: House) -> None:
    async with house.browser() as owner, house.browser() as browser:
        await signed_up(owner)
        email = house.provider.person["email"]
        await owner.post(
            "/api/v1/invites", json={"email": email, "role": "ROLE_MEMBER"}, headers=_SAME_ORIGIN
        )
        secret = house.mail.secret(email, "join")
        start = await browser.get(_START, params={"inviteSecret": secret, "invite": secret})
        await browser.get(_CALLBACK, params=_sign_in(house, start.headers["location"]))

        ours = (await owner.get("/api/v1/organization")).json()
        assert (await browser.get("/api/v1/organization")).json() != ours


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "evil.example",
        "/\t/evil.example",
        "/ /evil.example",
        "/%0a\n",
        "@evil.example",
        ".evil.example",
    ],
)
async def test_nobody_is_sent_to_another_site(house: House, path: str) -> None:
    async with house.browser() as browser:
        start = await browser.get(f"{_START}?returnPath={urllib.parse.quote(path)}")

    assert start.status_code == 400, start.headers
    assert start.json()["error"]["fields"][0]["field"] == "returnPath"


async def test_the_answer_of_another_browser_signs_nobody_in(house: House) -> None:
    async with house.browser() as attacker, house.browser() as victim:
        start = await attacker.get(_START)
        query = _sign_in(house, start.headers["location"])

        without = await victim.get(_CALLBACK, params=query)
        await victim.get(_START)
        other = await victim.get(_CALLBACK, params=query)

        for answer, check in ((without, "flow"), (other, "state")):
            assert answer.status_code == 401
            assert answer.json()["error"]["reason"] == "OIDC_REFUSED"
            assert answer.json()["error"]["metadata"] == {"check": check}
        assert _names(victim) == set()


async def test_an_answer_that_is_sent_twice_signs_in_once(house: House) -> None:
    async with house.browser() as browser:
        start = await browser.get(_START)
        flow = browser.cookies["__Host-om_oidc"]
        query = _sign_in(house, start.headers["location"])
        assert (await browser.get(_CALLBACK, params=query)).status_code == 303

        assert (await browser.get(_CALLBACK, params=query)).status_code == 401
        replay = await browser.get(_CALLBACK, params=query, headers={"Cookie": f"__Host-om_oidc={flow}"})

    assert replay.json()["error"]["metadata"] == {"check": "code"}


async def test_a_refusal_at_the_provider_is_said(house: House) -> None:
    async with house.browser() as browser:
        start = await browser.get(_START)
        query = _sign_in(house, start.headers["location"])
        denied = {"error": "access_denied", "state": query["state"], "iss": query["iss"]}

        answer = await browser.get(_CALLBACK, params=denied)

    assert answer.json()["error"]["metadata"] == {"check": "answer"}


async def test_a_provider_that_is_away_is_said(house: House) -> None:
    async with house.browser() as browser:
        start = await browser.get(_START)
        query = _sign_in(house, start.headers["location"])
        house.provider.twist.status = {"/token": 503}

        answer = await browser.get(_CALLBACK, params=query)

    assert answer.status_code == 503
    assert answer.json()["error"]["reason"] == "OIDC_UNAVAILABLE"
    assert "retry-after" in answer.headers


async def test_no_log_holds_a_secret_of_a_sign_in(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    async with house.browser() as browser:
        await browser.post("/api/v1/sign-up", json=new_person(), headers=OWN_PAGE)
        first = browser.cookies["__Host-om_session"]
        start = await browser.get(_START)
        query, flow = _sign_in(house, start.headers["location"]), browser.cookies["__Host-om_oidc"]
        await browser.get(_CALLBACK, params={**query, "state": "wrong"})
        await browser.get(_CALLBACK, params=query, headers={"Cookie": f"__Host-om_oidc={flow}"})
        second = browser.cookies["__Host-om_session"]

    written = "".join(capsys.readouterr())
    assert "CompleteOidcSignIn" in written
    for secret in (first, second, flow, query["code"], query["state"], house.provider.person["email"]):
        assert secret not in written
