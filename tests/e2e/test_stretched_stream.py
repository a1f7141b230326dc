"""A stream without an output cap, from the wallet's side: it never pays for more than is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.e2e.tenant import PATIENCE_S

if TYPE_CHECKING:
    from tests.e2e.installation import Installation
    from tests.e2e.tenant import Tenant

_LONG = "output_tokens=12000"


def _stream(installation: Installation, tenant: Tenant, model: str, sim: str) -> httpx.Response:
    headers = {**tenant.billing(), "Authorization": "Bearer a-provider-key", "X-Sim": sim}
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "Go on."}]}
    url = f"{installation.addresses.proxy}/v1/chat/completions"
    return httpx.post(url, json=body, headers=headers, timeout=PATIENCE_S)


@pytest.mark.parametrize(("credit", "ends"), [("90", True), ("1000", False)])
def test_a_wallet_that_cannot_pay_for_more_ends_the_stream(
    installation: Installation, credit: str, *, ends: bool
) -> None:
    tenant = installation.tenant(credit)

    answer = _stream(installation, tenant, "gpt-4o", _LONG)

    assert answer.status_code == httpx.codes.OK, answer.text
    assert ("insufficient_credits" in answer.text) is ends
    assert answer.text.endswith("data: [DONE]\n\n") is not ends
    assert len(tenant.events()) == 1
    assert 0 <= tenant.funds_at_rest().available < int(credit) * 10**9


def test_a_model_that_reasons_in_silence_holds_its_maximum(installation: Installation) -> None:
    answer = _stream(installation, installation.tenant("90"), "o4-mini", "reasoning=5000; silent")

    assert answer.status_code == httpx.codes.PAYMENT_REQUIRED, answer.text
