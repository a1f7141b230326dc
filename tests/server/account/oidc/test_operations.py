"""Sign-in against a provider that really signs, with everything that may be wrong with what it says."""

import threading
import time
from collections.abc import Callable

import pytest

from om_server.account.newcomers import SignUpClosed
from om_server.account.oidc.bounded_http import HttpLimits
from om_server.account.oidc.client import OidcRefused, OidcUnavailable
from om_server.account.oidc.flow import Destination
from om_server.account.people.invite import LinkInvalid
from om_server.account.people.member import Role
from om_server.core.clock import system_clock
from om_server.storage.database import Database
from tests.oidc_provider import Claims, Provider
from tests.server.account.harness import SetClock
from tests.server.account.oidc.journey import Journey, LetIn
from tests.server.account.people.house import make_house

_DISCOVERY = "/.well-known/openid-configuration"


def _with(**changed: object) -> Callable[[Claims], Claims]:
    return lambda claims: {**claims, **changed}


def _without(*names: str) -> Callable[[Claims], Claims]:
    return lambda claims: {name: value for name, value in claims.items() if name not in names}


@pytest.fixture(name="journey")
def make_journey(provider: Provider) -> Journey:
    return Journey(provider)


def _refused(journey: Journey, **changes: str) -> str:
    with pytest.raises(OidcRefused) as refusal:
        journey.arrive(None, **changes)
    return refusal.value.metadata["check"]


@pytest.mark.parametrize("kind", ["RSA", "EC"])
def test_a_person_whom_the_provider_vouches_for_is_let_in(provider: Provider, kind: str) -> None:
    provider.rotate(kind)

    with pytest.raises(LetIn) as let_in:
        Journey(provider).arrive(Destination("/wallets", "an invite"))

    assert let_in.value.identity.email == provider.person["email"]
    assert let_in.value.identity.display_name == "Ada"
    assert let_in.value.invite_secret == "an invite"


def test_the_secret_goes_into_the_body_where_the_provider_wants_it_there(provider: Provider) -> None:
    provider.twist.document = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}

    with pytest.raises(LetIn):
        Journey(provider).arrive()


@pytest.mark.parametrize(
    ("check", "claims"),
    [
        ("nonce", _with(nonce="of another sign-in")),
        ("nonce", _without("nonce")),
        ("aud", _with(aud="another client")),
        ("aud", _without("aud")),
        ("azp", _with(aud=["openmonetize", "another client"], azp="another client")),
        ("iss", _with(iss="https://another.example")),
        ("iss", _without("iss")),
        ("exp", _with(exp=int(time.time()) - 3600)),
        ("exp", _without("exp")),
        ("iat", _with(iat=int(time.time()) + 3600)),
        ("sub", _without("sub")),
        ("at_hash", _with(at_hash="of another token")),
        ("email", _without("email")),
        ("email", _with(email="")),
        ("email_verified", _with(email_verified=False)),
        ("email_verified", _with(email_verified="true")),
        ("email_verified", _without("email_verified")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_token_that_says_something_else_is_refused(
    provider: Provider, journey: Journey, check: str, claims: Callable[[Claims], Claims]
) -> None:
    provider.twist.claims = claims

    assert _refused(journey) == check


def test_a_token_without_a_signature_is_refused(provider: Provider, journey: Journey) -> None:
    provider.twist.sign = provider.unsigned

    assert _refused(journey) == "signature"


def test_the_public_key_is_no_secret_to_sign_with(provider: Provider, journey: Journey) -> None:
    provider.twist.sign = provider.signed_with_the_published_key

    assert _refused(journey) == "signature"


def test_a_signature_by_an_unpublished_key_is_refused(provider: Provider, journey: Journey) -> None:
    honest = provider.key
    provider.twist.header = {"kid": str(honest.kid)}
    callback = journey.go()
    with pytest.raises(LetIn):
        journey.oidc.complete(callback)

    callback = journey.go()
    provider.rotate()
    with pytest.raises(OidcRefused) as refusal:
        journey.oidc.complete(callback)

    assert refusal.value.metadata["check"] == "signature"


def test_a_key_that_is_new_is_asked_for(provider: Provider, journey: Journey) -> None:
    with pytest.raises(LetIn):
        journey.arrive()
    provider.rotate()

    with pytest.raises(LetIn):
        journey.arrive()

    assert provider.requests.count("/keys") == 2
    assert provider.requests.count(_DISCOVERY) == 1


def test_a_key_that_nobody_published_is_asked_for_once(provider: Provider, journey: Journey) -> None:
    provider.twist.header = {"kid": "unheard of"}

    assert _refused(journey) == "signature"
    assert provider.requests.count("/keys") == 2


def test_the_state_of_another_browser_is_refused_before_the_code_is_sent(
    provider: Provider, journey: Journey
) -> None:
    assert _refused(journey, state=journey.go().state) == "state"
    assert _refused(journey, state="") == "state"
    assert "/token" not in provider.requests


@pytest.mark.parametrize("flow", ["", "forged", "a.b.c.d.e"])
def test_a_flow_that_was_not_sealed_here_is_refused(journey: Journey, flow: str) -> None:
    assert _refused(journey, flow=flow) == "flow"


def test_a_flow_keeps_its_secrets(journey: Journey) -> None:
    callback = journey.go()

    assert callback.state not in callback.flow
    assert "state" not in repr(callback)


def test_a_flow_ends_after_ten_minutes(provider: Provider) -> None:
    clock = SetClock(system_clock())
    journey = Journey(provider, clock=clock)
    callback = journey.go()
    clock.advance(600)

    with pytest.raises(OidcRefused) as refusal:
        journey.oidc.complete(callback)

    assert refusal.value.metadata["check"] == "flow_expired"


def test_a_code_works_once(journey: Journey) -> None:
    callback = journey.go()
    with pytest.raises(LetIn):
        journey.oidc.complete(callback)

    with pytest.raises(OidcRefused) as refusal:
        journey.oidc.complete(callback)

    assert refusal.value.metadata["check"] == "code"


def test_a_code_of_another_flow_is_worth_nothing(journey: Journey) -> None:
    assert _refused(journey, code=journey.go().code) == "code"


@pytest.mark.parametrize("issuer", ["https://another.example", ""])
def test_an_answer_of_another_issuer_is_refused_before_the_code_is_sent(
    provider: Provider, journey: Journey, issuer: str
) -> None:
    assert _refused(journey, issuer=issuer) == "issuer"
    assert "/token" not in provider.requests


def test_a_refusal_at_the_provider_is_one_here(journey: Journey) -> None:
    assert _refused(journey, error="access_denied") == "answer"
    assert _refused(journey, code="") == "answer"


def test_a_document_of_another_issuer_is_not_used(provider: Provider, journey: Journey) -> None:
    provider.twist.document = {"issuer": "https://another.example"}

    with pytest.raises(OidcUnavailable):
        journey.oidc.start(Destination())


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
@pytest.mark.parametrize("url", [None, "", "file:///etc/passwd", "javascript:alert(1)"])
def test_a_document_that_leads_elsewhere_is_not_used(
    provider: Provider, journey: Journey, name: str, url: str | None
) -> None:
    provider.twist.document = {name: url}

    with pytest.raises(OidcUnavailable):
        journey.oidc.start(Destination())


@pytest.mark.parametrize("status", [0, 302, 404, 500])
def test_a_provider_that_is_away_is_said_to_be(provider: Provider, journey: Journey, status: int) -> None:
    callback = journey.go()
    provider.twist.status = {_DISCOVERY: status, "/token": status or 500, "/keys": status}

    with pytest.raises(OidcUnavailable):
        Journey(provider).oidc.start(Destination())
    with pytest.raises((OidcUnavailable, OidcRefused)):
        journey.oidc.complete(callback)


def test_a_closed_port_is_a_provider_that_is_away(provider: Provider) -> None:
    with pytest.raises(OidcUnavailable):
        Journey(provider, issuer="http://127.0.0.1:9").oidc.start(Destination())


def test_an_answer_that_does_not_end_is_given_up(provider: Provider, journey: Journey) -> None:
    provider.twist.held = threading.Event()
    try:
        with pytest.raises(OidcUnavailable):
            journey.oidc.start(Destination())
    finally:
        provider.twist.held.set()


def test_a_huge_answer_is_given_up(provider: Provider, journey: Journey) -> None:
    provider.twist.padding = 1024 * 1024

    with pytest.raises(OidcUnavailable):
        journey.oidc.start(Destination())


def test_a_slow_provider_takes_only_so_many_threads(provider: Provider) -> None:
    journey = Journey(provider, limits=HttpLimits(timeout_s=20, requests_max=1))
    provider.twist.held = threading.Event()
    first = threading.Thread(target=journey.oidc.start, args=(Destination(),))
    first.start()
    try:
        while not provider.requests:
            assert first.is_alive()
        with pytest.raises(OidcUnavailable):
            journey.oidc.start(Destination())
    finally:
        provider.twist.held.set()
        first.join()


def test_a_person_signs_up_where_that_is_open_and_in_from_then_on(
    provider: Provider, database: Database
) -> None:
    house = make_house(database, SetClock(system_clock()))
    journey = Journey(provider, house.people.entrance)

    founded = journey.arrive(Destination("/welcome"))
    again = journey.arrive()

    assert (founded.return_path, again.return_path) == ("/welcome", "/")
    assert founded.session.member.role is Role.OWNER
    assert again.session.member == founded.session.member
    assert house.authenticator.authenticate(again.session.secret).member_id == again.session.member.member_id


def test_an_invite_lets_in_the_address_that_it_was_sent_to(provider: Provider, database: Database) -> None:
    house = make_house(database, SetClock(system_clock()), sign_up_open=True)
    owner = house.sign_up()
    organization_id = owner.organization.organization_id
    house.people.members.create_invite(organization_id, "bob@example.com", role=Role.MEMBER)
    to = Destination("/", house.mail.last_secret("join"))
    journey = Journey(provider, house.people.entrance)

    with pytest.raises(LinkInvalid):
        journey.arrive(to)
    provider.person["email"] = "Bob@Example.com"
    joined = journey.arrive(to)

    assert joined.session.member.organization_id == organization_id
    assert joined.session.member.role is Role.MEMBER


def test_without_an_account_or_an_invite_nobody_comes_in_where_sign_up_is_closed(
    provider: Provider, database: Database
) -> None:
    house = make_house(database, SetClock(system_clock()), sign_up_open=False)

    with pytest.raises(SignUpClosed):
        Journey(provider, house.people.entrance).arrive()
