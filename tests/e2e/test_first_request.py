"""One request by an official client, through the proxy, to the nano in the wallet, on both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openai
import pytest

from om_server.cli.command import seed_development
from om_server.cli.demo import DEVELOPMENT_KEY
from tests.e2e.official_clients import OPENAI, Question
from tests.e2e.tenant import Funds

if TYPE_CHECKING:
    from tests.e2e.installation import Installation

_SEEDED = 10_000 * 10**9
#: gpt-4o: 2.50 dollars a million in, 10 out; the simulator answers 16 tokens to 2; 1,000 credits a dollar.
_CHARGE = (2 * 2_500 + 16 * 10_000) * 1_000


def _hello(*, stream: bool = False, model: str = "gpt-4o") -> Question:
    return Question(model, prompt="Hi there", stream=stream)


@pytest.mark.acceptance("B-021")
def test_the_development_key_pays_for_its_first_request(installation: Installation) -> None:
    organization_id = seed_development(installation.platform)
    tenant = installation.known_tenant(organization_id, DEVELOPMENT_KEY)
    assert tenant.funds() == Funds(_SEEDED, 0)

    assert OPENAI.ask(installation.addresses.proxy, tenant.billing(), _hello())

    tenant.event()
    assert tenant.funds() == Funds(_SEEDED - _CHARGE, 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.acceptance("B-003", "B-004", "B-005")
def test_a_request_is_charged_exactly_once_and_to_the_nano(
    installation: Installation, *, stream: bool
) -> None:
    tenant = installation.tenant("10000")

    assert OPENAI.ask(installation.addresses.proxy, tenant.billing(), _hello(stream=stream))

    tenant.event()
    assert tenant.funds() == Funds(_SEEDED - _CHARGE, 0)


def test_the_sandbox_charges_nothing(installation: Installation) -> None:
    tenant = installation.tenant("10000")

    assert OPENAI.ask(installation.addresses.proxy, tenant.billing(**{"X-Sandbox": "true"}), _hello())

    assert tenant.event()["event"]["sandbox"] is True
    assert tenant.funds() == Funds(_SEEDED, 0)


def test_a_wallet_that_is_too_small_stops_the_call_before_it_is_made(installation: Installation) -> None:
    tenant = installation.tenant("0.000001")

    with pytest.raises(openai.APIStatusError) as caught:
        OPENAI.ask(installation.addresses.proxy, tenant.billing(), _hello())

    assert (caught.value.status_code, caught.value.code) == (402, "insufficient_credits")
    assert tenant.funds() == Funds(1_000, 0)
    assert tenant.get("/v1/events")["pagination"]["total"] == 0
