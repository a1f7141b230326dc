import io
import json

import pytest
from rich.console import Console

from om_server.cli.demo import Addresses, Call, DemonstrationFailed, demonstrate
from tests.server.cli.web import Page, served

_EVENT = {
    "event": {
        "eventId": "evt_1",
        "lines": [{"model": "gpt-4o", "usage": {"quantities": [{"amount": "11", "unit": "input_tokens"}]}}],
    },
    "cost": {"amountNanos": "187500"},
    "charge": {"amountNanos": "187500000"},
}
_BALANCE = Page(200, json.dumps({"data": {"availableBalance": 12.5}}).encode())


def pages(*events: object) -> dict[str, Page]:
    return {
        "/v1/credits/balance": _BALANCE,
        "/api/v1/events": Page(200, json.dumps({"events": events}).encode()),
    }


def shown(rest: str, call: Call) -> str:
    out = io.StringIO()
    demonstrate(Addresses("http://proxy", f"http://{rest}"), (call,), Console(file=out, width=120))
    return out.getvalue()


def test_the_answer_the_event_and_the_wallet_are_shown() -> None:
    sent = []

    def send(addresses: Addresses, headers: dict[str, str]) -> str:
        sent.append((addresses.proxy, headers["X-OM-Api-Key"]))
        return "A meter."

    with served(pages(_EVENT)) as rest:
        screen = shown(rest, Call("OpenAI", send))

    assert sent == [("http://proxy", "om_dev_test_key")]
    for part in ("A meter.", "11 input_tokens", "$0.0001875", "0.1875 credits", "evt_1", "12.5 -> 12.5"):
        assert part in screen


def test_an_event_without_a_price_is_not_free() -> None:
    unrated = {"event": _EVENT["event"]}
    with served(pages(unrated)) as rest:
        screen = shown(rest, Call("OpenAI", lambda *_: "A meter."))

    assert screen.count("not rated yet") == 2


def test_a_platform_that_does_not_run_is_told() -> None:
    with pytest.raises(DemonstrationFailed, match="`openmonetize up` starts the platform"):
        shown("127.0.0.1:1", Call("OpenAI", lambda *_: ""))


def test_a_refusal_of_rest_is_told() -> None:
    with served({"/v1/credits/balance": Page(401)}) as rest, pytest.raises(DemonstrationFailed) as raised:
        shown(rest, Call("OpenAI", lambda *_: ""))

    assert str(raised.value).endswith("/v1/credits/balance answered 401")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError(name="openai"), "OpenAI: the client openai is not installed"),
        (RuntimeError("402\n no credits"), "OpenAI: 402 no credits"),
        (RuntimeError(), "OpenAI: RuntimeError"),
    ],
)
def test_a_call_that_fails_is_one_line(error: Exception, message: str) -> None:
    def send(_addresses: Addresses, _headers: dict[str, str]) -> str:
        raise error

    with served(pages()) as rest, pytest.raises(DemonstrationFailed) as raised:
        shown(rest, Call("OpenAI", send))

    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
