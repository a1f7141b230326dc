import pytest
from starlette.datastructures import Headers

from om_server.rest.cookies import Cookies

_NOW = 1_790_000_000_000_000


def _cookies(origin: str = "https://om.example") -> Cookies:
    return Cookies(origin, clock=lambda: _NOW)


def test_a_session_lives_as_long_in_the_browser_as_in_the_server() -> None:
    assert _cookies().keep_session("oms_1", expire_time=_NOW + 90_500_000) == (
        "__Host-om_session=oms_1; Path=/; Max-Age=90; HttpOnly; SameSite=Lax; Secure"
    )


def test_a_session_that_has_ended_is_not_kept() -> None:
    assert "Max-Age=0" in _cookies().keep_session("oms_1", expire_time=_NOW - 1_000_000)


def test_on_plain_http_no_cookie_says_that_it_is_secure() -> None:
    assert _cookies("http://localhost:3000").keep_flow("sealed") == (
        "om_oidc=sealed; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"
    )


@pytest.mark.parametrize("line", [_cookies().forget_session(), _cookies().forget_flow()])
def test_what_is_forgotten_has_no_value(line: str) -> None:
    assert "=; Path=/; Max-Age=0;" in line


def test_cookies_are_read_by_their_own_names() -> None:
    sent = Headers(
        raw=[(b"cookie", b"om_session=toss; __Host-om_session=oms_1"), (b"cookie", b"__Host-om_oidc=sealed")]
    )

    assert (_cookies().session(sent), _cookies().flow(sent)) == ("oms_1", "sealed")
    assert _cookies().session(Headers()) == ""
