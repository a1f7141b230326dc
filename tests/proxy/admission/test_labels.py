"""What a caller says of a call reaches its admission and its event."""

from __future__ import annotations

import pytest

from om_proxy.admission.labels import attribution_of
from om_proxy.dialects.attribution import Attribution
from om_proxy.secret import Secret
from tests.proxy.one_edge import CHAT, answers, edge


def test_everything_but_the_key_is_written() -> None:
    who = Attribution(
        Secret("om_live_canary"), "acme", "user_1", "chat", tags=("a", "b"), prompt_key="p", prompt_version=0
    )
    message = attribution_of(who)

    assert (message.customer_id, message.user_id, message.feature_id) == ("acme", "user_1", "chat")
    assert (list(message.tags), message.prompt_key, message.prompt_version) == (["a", "b"], "p", 0)
    assert "canary" not in str(message)


@pytest.mark.acceptance("B-156")
def test_no_version_is_not_version_0() -> None:
    assert not attribution_of(Attribution(Secret("k"), "", "", "")).HasField("prompt_version")


async def test_admission_and_event_hear_the_same() -> None:
    labels = ("X-OM-Tags: a, b", "X-OM-Prompt-Key: p", "X-OM-Prompt-Version: 7")
    async with edge(answers) as proxy:
        answer = await proxy.ask(CHAT, *labels)
        (event,) = await proxy.server.reported()

    assert answer.status == 200
    asked = proxy.server.admit_requests[0].attribution
    assert asked == event.attribution
    assert (list(asked.tags), asked.prompt_key, asked.prompt_version) == (["a", "b"], "p", 7)
