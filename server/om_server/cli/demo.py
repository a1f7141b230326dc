"""Sends real requests with the providers' own clients and shows what was metered and charged."""

from __future__ import annotations

import json
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from om_server.failure import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Callable

#: The key that a development platform is seeded with. It is public on purpose and never seeded elsewhere.
DEVELOPMENT_KEY = "om_dev_test_key"

_NANO = Decimal(10**9)
_APPEAR_TIMEOUT_S = 10.0
_POLL_S = 0.05
_PROMPT = "Say in one sentence what a smart meter does."
_OUTPUT_TOKENS_MAX = 64


class DemonstrationFailed(CommandFailed):
    """A request was not answered, or its event did not appear."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the platform answers."""

    proxy: str
    rest: str
    key: str = DEVELOPMENT_KEY


@dataclass(frozen=True, slots=True)
class Call:
    """One request: what to show it as, and how to send it with the billing headers."""

    title: str
    send: Callable[[Addresses, dict[str, str]], str]


def _openai(addresses: Addresses, headers: dict[str, str], *, stream: bool = False) -> str:
    import openai  # noqa: PLC0415 - an official client, installed for the demonstration alone

    client = openai.OpenAI(api_key="sk-demo", base_url=f"{addresses.proxy}/v1", default_headers=headers)
    with client:
        if not stream:
            answer = client.chat.completions.create(
                model="gpt-4o",
                messages=[{"role": "user", "content": _PROMPT}],
                max_tokens=_OUTPUT_TOKENS_MAX,
            )
            return answer.choices[0].message.content or ""
        chunks = client.chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "user", "content": _PROMPT}],
            max_tokens=_OUTPUT_TOKENS_MAX,
            stream=True,
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def _anthropic(addresses: Addresses, headers: dict[str, str], *, stream: bool = False) -> str:
    import anthropic  # noqa: PLC0415 - an official client, installed for the demonstration alone

    client = anthropic.Anthropic(api_key="sk-ant-demo", base_url=addresses.proxy, default_headers=headers)
    request: dict[str, Any] = {
        "model": "claude-haiku-4-5",
        "max_tokens": _OUTPUT_TOKENS_MAX,
        "messages": [{"role": "user", "content": _PROMPT}],
    }
    with client:
        if stream:
            with client.messages.stream(**request) as events:
                return "".join(events.text_stream)
        message = client.messages.create(**request)
        return "".join(block.text for block in message.content if block.type == "text")


def _gemini(addresses: Addresses, headers: dict[str, str], *, stream: bool = False) -> str:
    from google import genai  # noqa: PLC0415 - an official client, installed for the demonstration alone
    from google.genai import types  # noqa: PLC0415 - as above

    options = types.HttpOptions(base_url=addresses.proxy, headers=headers)
    client = genai.Client(api_key="demo", http_options=options)
    config = types.GenerateContentConfig(max_output_tokens=_OUTPUT_TOKENS_MAX)
    model = "gemini-2.0-flash"
    if stream:
        chunks = client.models.generate_content_stream(model=model, contents=_PROMPT, config=config)
        return "".join(chunk.text or "" for chunk in chunks)
    return client.models.generate_content(model=model, contents=_PROMPT, config=config).text or ""


FIRST_CALL = Call("OpenAI", _openai)
ALL_CALLS = (
    FIRST_CALL,
    Call("OpenAI, streaming", lambda where, headers: _openai(where, headers, stream=True)),
    Call("Anthropic", _anthropic),
    Call("Anthropic, streaming", lambda where, headers: _anthropic(where, headers, stream=True)),
    Call("Gemini", _gemini),
    Call("Gemini, streaming", lambda where, headers: _gemini(where, headers, stream=True)),
)


def demonstrate(addresses: Addresses, calls: tuple[Call, ...], console: Console) -> None:
    """Send each call and print its answer, its event, and the wallet before and after.

    Raises `DemonstrationFailed` at the first that does not come out.
    """
    for call in calls:
        before = _available(addresses)
        user_id = f"demo-{secrets.token_hex(4)}"
        headers = {
            "X-OM-Api-Key": addresses.key,
            "X-OM-Customer-Id": "your-company-id",
            "X-OM-User-Id": user_id,
            "X-OM-Feature-Id": "ai-chat",
        }
        answer = _answer(call, addresses, headers)
        event = _await_event(addresses, user_id)
        _show(console, call.title, answer=answer, event=event, before=before, after=_available(addresses))


def _answer(call: Call, addresses: Addresses, headers: dict[str, str]) -> str:
    try:
        return call.send(addresses, headers)
    except ModuleNotFoundError as error:
        reason = f"the client {error.name} is not installed; `make setup` installs it"
        raise DemonstrationFailed(f"{call.title}: {reason}") from error
    except Exception as error:  # Three libraries, and each has errors of its own.
        # Some of them write the whole answer on several lines.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DemonstrationFailed(f"{call.title}: {reason}") from error


def _show(  # noqa: PLR0913 - everything that is shown
    console: Console, title: str, *, answer: str, event: dict[str, Any], before: Decimal, after: Decimal
) -> None:
    reported = event["event"]
    table = Table(title=title, show_header=False, title_justify="left", min_width=72)
    table.add_row("answer", answer)
    for line in reported["lines"]:
        units = ", ".join(f"{item['amount']} {item['unit']}" for item in line["usage"]["quantities"])
        table.add_row("metered", f"{line['model']}: {units}")
    table.add_row("cost", f"${_amount(event, 'cost')}")
    table.add_row("charged", f"{_amount(event, 'charge')} credits (event {reported['eventId']})")
    table.add_row("wallet", f"{before} -> {after} credits")
    console.print(table)


def _amount(event: dict[str, Any], name: str) -> str:
    """Show an amount exactly; an event without one waits for a price, which is not zero."""
    if name not in event:
        return "not rated yet"
    return format((Decimal(event[name]["amountNanos"]) / _NANO).normalize(), "f")


def _available(addresses: Addresses) -> Decimal:
    return Decimal(_get(addresses, "/v1/credits/balance")["data"]["availableBalance"])


def _await_event(addresses: Addresses, user_id: str) -> dict[str, Any]:
    query = urllib.parse.urlencode({"filter.userIds": user_id, "pageSize": 1})
    deadline = time.monotonic() + _APPEAR_TIMEOUT_S
    while time.monotonic() < deadline:
        events = _get(addresses, f"/api/v1/events?{query}").get("events", [])
        if events:
            found: dict[str, Any] = events[0]
            return found
        time.sleep(_POLL_S)
    raise DemonstrationFailed(f"the event did not appear within {_APPEAR_TIMEOUT_S:.0f} s")


def _get(addresses: Addresses, path: str) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310 - an address of the platform
        addresses.rest + path, headers={"Authorization": f"Bearer {addresses.key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
            body: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        error.close()
        raise DemonstrationFailed(f"{addresses.rest}{path} answered {error.code}") from error
    except OSError as error:
        reason = f"nothing answers at {addresses.rest}; `openmonetize up` starts the platform"
        raise DemonstrationFailed(reason) from error
    return body
