"""Calls that no wallet pays for, or that a strict wallet cannot: known and unknown prices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anthropic
import openai
import pytest
from google.genai import errors as genai_errors

from tests.e2e.official_clients import ANTHROPIC, GEMINI, OFFICIAL_CLIENTS, OPENAI, OfficialClient, Question
from tests.e2e.tariff import charge_nanos, cost_nanos, tokens
from tests.e2e.tenant import Funds, nanos, quantities

if TYPE_CHECKING:
    from tests.e2e.installation import Installation

_UNKNOWN_MODEL = "a-model-nobody-knows"


def test_without_a_wallet_a_known_model_is_rated_and_charged_to_nobody(installation: Installation) -> None:
    tenant = installation.tenant()
    question = Question(OPENAI.model)

    answer = OPENAI.ask(installation.addresses.proxy, tenant.billing(), question)
    event = tenant.event()

    usage = {"input_tokens": tokens(question.prompt), "output_tokens": tokens(answer)}
    assert event["state"] == "RATING_STATE_RATED"
    assert nanos(event, "cost") == cost_nanos("openai", "gpt-4o", usage)
    assert nanos(event, "charge") == charge_nanos("openai", "gpt-4o", usage)
    assert event["walletId"] == ""
    assert tenant.funds() == Funds(0, 0)
    assert tenant.get("/api/v1/wallet")["wallet"]["exists"] is False


@pytest.mark.parametrize("client", OFFICIAL_CLIENTS, ids=lambda client: client.provider)
def test_without_a_wallet_an_unknown_model_is_called_and_left_unrated(
    installation: Installation, client: OfficialClient
) -> None:
    tenant = installation.tenant()

    assert client.ask(installation.addresses.proxy, tenant.billing(), Question(_UNKNOWN_MODEL))
    event = tenant.event()

    assert event["state"] == "RATING_STATE_UNRATED"
    # Absent, because an amount that nobody knows is not zero.
    assert "cost" not in event
    assert "charge" not in event
    (line,) = event["event"]["lines"]
    assert line["model"] == _UNKNOWN_MODEL
    assert quantities(line)["output_tokens"] > 0
    (row,) = tenant.get("/v1/events")["data"]
    assert (row["creditsBurned"], row["costUsd"]) == (None, None)
    assert tenant.get("/v1/analytics/usage")["unratedEvents"] == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_strict_wallet_refuses_an_unknown_model_in_every_client_s_own_error(
    installation: Installation, *, stream: bool
) -> None:
    tenant = installation.tenant("100")
    question = Question(_UNKNOWN_MODEL, stream=stream)
    proxy, headers = installation.addresses.proxy, tenant.billing()

    with pytest.raises(openai.APIStatusError) as by_openai:
        OPENAI.ask(proxy, headers, question)
    with pytest.raises(anthropic.APIStatusError) as by_anthropic:
        ANTHROPIC.ask(proxy, headers, question)
    with pytest.raises(genai_errors.ClientError) as by_gemini:
        GEMINI.ask(proxy, headers, question)

    assert (by_openai.value.status_code, by_openai.value.code) == (402, "price_unknown")
    assert by_anthropic.value.status_code == 402
    assert by_anthropic.value.body["error"]["details"]["error_code"] == "price_unknown"  # type: ignore[index]
    assert by_gemini.value.code == 402
    assert by_gemini.value.details["error"]["details"][0]["reason"] == "PRICE_UNKNOWN"
    assert tenant.get("/v1/events")["pagination"]["total"] == 0
    assert tenant.funds() == Funds(100 * 10**9, 0)
