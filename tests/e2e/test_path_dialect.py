"""The path-based dialect as its documents print it: official clients, both keys, metadata."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import types

from om_server.account.keys.call_settings import CallSettingsChange
from om_server.account.keys.key import KeyChange, KeyWish
from om_server.core.page import PageRequest
from om_server.rpc.caller import Scope
from tests.e2e.official_clients import OFFICIAL_CLIENTS, OfficialClient, Question
from tests.e2e.tenant import Funds, Tenant, awaited, nanos, quantities

if TYPE_CHECKING:
    from tests.e2e.installation import Installation

METADATA = {
    "prompt_key": "document-summarizer",
    "feature_tags": ["summarization", "documents"],
    "version": 2,
}
_MESSAGES: list[Any] = [{"role": "user", "content": "Hello!"}]
_CREDIT = 10**9


@contextlib.contextmanager
def openai_client(proxy: str, key: str, **headers: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        api_key=key,
        base_url=f"{proxy}/api/proxy/v1/openai",
        default_headers={"X-Provider-Key": "sk-user_openai_key_here", **headers},
        max_retries=0,
    ) as client:
        yield client


@contextlib.contextmanager
def anthropic_client(proxy: str, key: str, **headers: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        api_key="your_anthropic_key_here",
        base_url=f"{proxy}/api/proxy/v1/anthropic",
        default_headers={
            "Authorization": f"Bearer {key}",
            "X-Provider-Key": "sk-ant-user_anthropic_key_here",
            **headers,
        },
        max_retries=0,
    ) as client:
        yield client


def key_with(installation: Installation, tenant: Tenant, prefix: str) -> str:
    """Make another key of the tenant's team."""
    account = installation.platform.account
    (team,) = account.list_teams(tenant.organization_id, PageRequest(1, "")).items
    return account.create_key(tenant.organization_id, KeyWish(team.team_id, prefix=prefix)).secret


def attribution(tenant: Tenant) -> dict[str, Any]:
    found: dict[str, Any] = tenant.event()["event"]["attribution"]
    return found


@pytest.mark.acceptance("B-128", "B-133", "B-147", "B-148", "B-153", "B-154", "B-155")
@pytest.mark.parametrize("stream", [False, True])
def test_the_openai_client_is_tracked_and_charged(installation: Installation, *, stream: bool) -> None:
    tenant = installation.tenant("10000")

    with openai_client(installation.addresses.proxy, tenant.key) as client:
        answer = client.chat.completions.create(
            model="gpt-4o",
            messages=_MESSAGES,
            max_tokens=500,
            stream=stream,
            extra_body={"_aipromptcost": METADATA},
        )
        text = (
            "".join(chunk.choices[0].delta.content or "" for chunk in answer)
            if isinstance(answer, openai.Stream)
            else answer.choices[0].message.content
        )

    assert text
    event = tenant.event()
    told = event["event"]["attribution"]
    assert (told["promptKey"], told["promptVersion"]) == ("document-summarizer", 2)
    assert sorted(told["tags"]) == ["documents", "summarization"]
    assert nanos(event, "charge") > 0
    assert tenant.funds() == Funds(10_000 * _CREDIT - nanos(event, "charge"), 0)


# The documents print a model that has grown old.
@pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")
@pytest.mark.acceptance("B-134", "B-149", "B-160")
@pytest.mark.parametrize("stream", [False, True])
def test_the_anthropic_client_is_tracked_and_charged(installation: Installation, *, stream: bool) -> None:
    tenant = installation.tenant("10000")
    request: dict[str, Any] = {
        "model": "claude-sonnet-4-20250514",
        "max_tokens": 500,
        "messages": _MESSAGES,
        "extra_body": {"_aipromptcost": METADATA},
    }

    with anthropic_client(installation.addresses.proxy, tenant.key) as client:
        if stream:
            with client.messages.stream(**request) as events:
                text = "".join(events.text_stream)
        else:
            text = client.messages.create(**request).content[0].text

    assert text
    event = tenant.event()
    assert event["event"]["attribution"]["promptKey"] == "document-summarizer"
    assert tenant.funds() == Funds(10_000 * _CREDIT - nanos(event, "charge"), 0)


@pytest.mark.parametrize("stream", [False, True])
def test_the_gemini_client_works_under_its_name_too(installation: Installation, *, stream: bool) -> None:
    tenant = installation.tenant("10000")
    options = types.HttpOptions(
        base_url=f"{installation.addresses.proxy}/api/proxy/v1/gemini",
        headers={"Authorization": f"Bearer {tenant.key}", "X-Provider-Key": "AIza-user"},
    )

    with contextlib.closing(genai.Client(api_key="any", http_options=options)) as client:
        if stream:
            chunks = client.models.generate_content_stream(model="gemini-2.0-flash", contents="Hello!")
            text = "".join(chunk.text or "" for chunk in chunks)
        else:
            text = client.models.generate_content(model="gemini-2.0-flash", contents="Hello!").text or ""

    assert text
    assert attribution(tenant)["promptKey"] == "unknown"


@pytest.mark.acceptance("B-135", "B-143", "B-171", "B-040")
@pytest.mark.parametrize("prefix", ["om_live_", "apc_"])
def test_a_key_of_either_prefix_opens_both_dialects_until_it_is_revoked(
    installation: Installation, prefix: str
) -> None:
    tenant = installation.tenant("10000")
    key = key_with(installation, tenant, prefix)
    proxy = installation.addresses.proxy
    assert key.startswith(prefix)

    def by_path() -> None:
        with openai_client(proxy, key) as client:
            client.chat.completions.create(model="gpt-4o", messages=_MESSAGES, max_tokens=5)

    def by_header() -> None:
        headers = {**tenant.billing(), "X-OM-Api-Key": key}
        with openai.OpenAI(
            api_key="sk", base_url=f"{proxy}/v1", default_headers=headers, max_retries=0
        ) as client:
            client.chat.completions.create(model="gpt-4o", messages=_MESSAGES, max_tokens=5)

    by_path()
    by_header()
    tenant.events(2)
    account = installation.platform.account
    (*_, newest) = account.list_keys(tenant.organization_id, PageRequest(50, "")).items
    account.revoke_key(tenant.organization_id, newest.key_id)

    for ask in (by_path, by_header):

        def refusal(ask: Any = ask) -> str:
            try:
                ask()
            except openai.AuthenticationError as error:
                return str(error.code)
            return ""

        assert awaited(refusal) == "invalid_api_key"


@pytest.mark.acceptance("B-150", "B-157", "B-156")
@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("openai/chat/completions", "gpt-4o"),
        ("anthropic/messages", "claude-haiku-4-5"),
        ("anthropic/v1/messages", "claude-haiku-4-5"),
    ],
)
def test_plain_http_works_without_metadata(installation: Installation, path: str, model: str) -> None:
    tenant = installation.tenant("10000")

    answer = httpx.post(
        f"{installation.addresses.proxy}/api/proxy/v1/{path}",
        headers={"Authorization": f"Bearer {tenant.key}", "X-Provider-Key": "sk-any"},
        json={"model": model, "max_tokens": 50, "messages": _MESSAGES},
        timeout=20,
    )

    assert answer.status_code == 200, answer.text
    told = attribution(tenant)
    assert told["promptKey"] == "unknown"
    assert "promptVersion" not in told


@pytest.mark.acceptance("B-142")
def test_the_sandbox_is_free(installation: Installation) -> None:
    tenant = installation.tenant("10000")

    with anthropic_client(installation.addresses.proxy, tenant.key, **{"X-Sandbox": "true"}) as client:
        assert client.messages.create(model="claude-haiku-4-5", max_tokens=50, messages=_MESSAGES).content

    assert tenant.event()["event"]["sandbox"] is True
    assert tenant.funds() == Funds(10_000 * _CREDIT, 0)


@pytest.mark.acceptance("B-045", "B-169")
def test_a_provider_that_cannot_be_reached_is_502(installation: Installation) -> None:
    tenant = installation.tenant("10000")

    with (
        openai_client(installation.addresses.offline_proxy, tenant.key) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.chat.completions.create(model="gpt-4o", messages=_MESSAGES, max_tokens=5)

    assert caught.value.status_code == 502


@pytest.mark.acceptance("B-026")
def test_a_call_and_a_report_of_the_same_usage_are_the_same(installation: Installation) -> None:
    tenant = installation.tenant("10000")
    with openai_client(installation.addresses.proxy, tenant.key) as client:
        client.chat.completions.create(model="gpt-4o", messages=_MESSAGES, max_tokens=50)
    called = tenant.event()
    (line,) = called["event"]["lines"]
    counts = quantities(line)

    report = {
        "event_id": "reported-by-an-sdk",
        "customer_id": "acme",
        "user_id": "user_123",
        "event_type": "TOKEN_USAGE",
        "feature_id": "ai-chat",
        "provider": "OPENAI",
        "model": line["model"],
        "input_tokens": counts["input_tokens"],
        "output_tokens": counts["output_tokens"],
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    tenant.post("/v1/events/ingest", {"events": [report]}, expect=202)

    found = {event["event"]["eventId"]: event for event in tenant.events(2)}
    reported = found.pop("reported-by-an-sdk")
    ((_, again),) = found.items()
    assert quantities(reported["event"]["lines"][0]) == counts
    for figure in ("cost", "charge"):
        assert nanos(reported, figure) == nanos(again, figure) > 0


@pytest.mark.parametrize("by_path", [True, False])
def test_the_cost_that_is_told_with_an_answer_is_the_one_that_is_charged(
    installation: Installation, *, by_path: bool
) -> None:
    tenant = installation.tenant("10000")
    proxy = installation.addresses.proxy
    base = f"{proxy}/api/proxy/v1/openai" if by_path else f"{proxy}/v1"
    headers = (
        {"Authorization": f"Bearer {tenant.key}", "X-Provider-Key": "sk"}
        if by_path
        else {**tenant.billing(), "Authorization": "Bearer sk"}
    )

    answers: list[httpx.Response] = []

    def told() -> httpx.Response | None:
        """Ask again where the figures were not there in time, as on a machine that is busy."""
        answer = httpx.post(
            f"{base}/chat/completions",
            headers={**headers, "X-OM-Include-Cost": "true"},
            json={"model": "gpt-4o", "max_tokens": 50, "messages": _MESSAGES},
            timeout=20,
        )
        assert answer.status_code == 200, answer.text
        answers.append(answer)
        return answer if "x-om-balance" in answer.headers else None

    answer = awaited(told)

    assert answer is not None
    event = next(
        event
        for event in tenant.events(len(answers))
        if event["event"]["eventId"] == answer.headers["x-om-request-id"]
    )
    assert Decimal(answer.headers["x-om-cost"]) * _CREDIT == nanos(event, "cost")
    assert answer.headers["x-om-cost-currency"] == event["cost"]["currencyCode"]
    assert Decimal(answer.headers["x-om-credits"]) * _CREDIT == nanos(event, "charge")
    if len(answers) == 1:
        assert Decimal(answer.headers["x-om-balance"]) * _CREDIT == tenant.funds().available


@pytest.mark.parametrize("client", OFFICIAL_CLIENTS, ids=lambda client: client.provider)
def test_official_clients_take_what_stands_behind_a_stream(
    installation: Installation, client: OfficialClient
) -> None:
    tenant = installation.tenant("10000")
    headers = tenant.billing(**{"X-OM-Include-Cost": "true"})

    for _ in range(2):
        assert client.ask(installation.addresses.proxy, headers, Question(client.model, stream=True))

    tenant.events(2)


def test_a_key_that_may_not_read_is_told_no_cost(installation: Installation) -> None:
    tenant = installation.tenant("10000")
    account = installation.platform.account
    (team,) = account.list_teams(tenant.organization_id, PageRequest(1, "")).items
    key = account.create_key(
        tenant.organization_id, KeyWish(team.team_id, scopes=frozenset({Scope.PROXY}))
    ).secret

    with openai_client(installation.addresses.proxy, key, **{"X-OM-Include-Cost": "true"}) as client:
        answer = client.chat.completions.with_raw_response.create(
            model="gpt-4o", messages=_MESSAGES, max_tokens=5
        )

    assert answer.status_code == 200
    assert "x-om-cost" not in answer.headers
    assert "x-om-balance" not in answer.headers


def test_a_cap_is_lowered_to_what_the_wallet_affords(installation: Installation) -> None:
    tenant = installation.tenant("1")

    with openai_client(installation.addresses.proxy, tenant.key) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model="gpt-4o", messages=_MESSAGES, max_tokens=4_000)
        assert caught.value.status_code == 402
        details = caught.value.body["details"] if isinstance(caught.value.body, dict) else {}
        affordable = int(details["output_tokens_max"])
        answer = client.chat.completions.with_raw_response.create(
            model="gpt-4o",
            messages=_MESSAGES,
            max_tokens=4_000,
            extra_headers={"X-OM-Clamp-Output": "true"},
        )

    assert 0 < affordable < 100
    assert answer.headers["x-om-output-cap"] == str(affordable)
    assert (answer.parse().usage or pytest.fail("no usage")).completion_tokens <= affordable
    tenant.event()


def test_a_key_that_lowers_caps_does_so_from_the_moment_it_is_told(installation: Installation) -> None:
    tenant = installation.tenant("1")
    account = installation.platform.account
    (key,) = account.list_keys(tenant.organization_id, PageRequest(10, "")).items

    with openai_client(installation.addresses.proxy, tenant.key) as client:

        def lowered(**headers: str) -> str | None:
            try:
                answer = client.chat.completions.with_raw_response.create(
                    model="gpt-4o", messages=_MESSAGES, max_tokens=4_000, extra_headers=headers
                )
            except openai.APIStatusError as refused:
                return None if refused.status_code == 402 else pytest.fail(str(refused))
            return answer.headers["x-om-output-cap"]

        assert lowered() is None
        change = KeyChange(calls=CallSettingsChange(clamp_output=True))
        account.update_key(tenant.organization_id, key.key_id, change)
        assert 0 < int(awaited(lowered) or 0) < 100
        assert lowered(**{"X-OM-Clamp-Output": "false"}) is None

    tenant.event()
