"""The listener against a strict parser: row 41 of the fault catalogue, and absolute targets."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tests.proxy.one_edge import CHAT, answers
from tests.proxy.raw_http import caller
from tests.proxy_faults.scene import Scene, scene
from tests.proxy_faults.smuggling import cases
from tests.proxy_faults.strict_http import Refused, read

_CASES = list(cases())
#: What the listener takes although the strict parser does not, and why that is no way to smuggle.
_HARMLESS = {
    # Leading zeros change no number.
    "chunk size b'0000000000000000000000000000000000000000'",
    "chunk size b'0000000000000000000000000000000000000000' and more behind",
    # RFC 9112 section 3 lets a server split the line at white space; no other split has three words.
    "line b'POST  /v1/chat/completions HTTP/1.1'",
    "line b'POST /v1/chat/completions  HTTP/1.1'",
}


def strictly(data: bytes) -> list[bytes] | None:
    """Give the bodies of all requests to our own route; None where the bytes are refused."""
    try:
        return [found.body for found in read(data) if found.target.startswith(b"/v1/chat/completions")]
    except Refused:
        return None


async def told(running: Scene, data: bytes) -> int:
    """Send bytes and nothing more; give the status of the first answer, 0 where the connection just ended."""
    async with caller(running.proxy.url) as connection:
        with suppress(ConnectionError):
            await connection.send(data)
        try:
            return (await connection.read()).status
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0


async def test_no_parser_may_see_another_request_than_the_listener_row_41() -> None:
    assert len(_CASES) >= 200
    assert len({name for name, _ in _CASES}) == len(_CASES)
    async with scene(answers, OM_PROXY_HEAD_TIMEOUT_S=0.5, OM_PROXY_BODY_TIMEOUT_S=0.5) as running:
        statuses: list[int] = []
        for start in range(0, len(_CASES), 40):
            group = _CASES[start : start + 40]
            statuses += await asyncio.gather(*(told(running, data) for _, data in group))
        wrong = [
            name
            for status, (name, data) in zip(statuses, _CASES, strict=True)
            if status == 200 and not accepted(data) and name not in _HARMLESS
        ]
        served = statuses.count(200)

        assert not wrong, "\n".join(wrong)
        assert served == len(running.proxy.provider.exchanges)
        assert {exchange.body for exchange in running.proxy.provider.exchanges} == {CHAT}
        await running.outcomes(served)
    # The corpus has good requests too, else nothing would be proven.
    assert served >= 20


def accepted(data: bytes) -> bool:
    """Whether the strict parser sees a request for the provider at the start of these bytes."""
    bodies = strictly(data)
    if bodies is not None:
        return CHAT in bodies
    # Refused as a whole: perhaps only because of what stands behind a good request.
    return any(CHAT in (strictly(data[:end]) or []) for end in _ends_of_requests(data))


def _ends_of_requests(data: bytes) -> list[int]:
    ends = [data.find(b"POST /smuggled"), data.rfind(CHAT) + len(CHAT)]
    return [end for end in ends if end > 0]


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example/v1/chat/completions",
        "http://evil.example/v1/messages",
        "https://api.openai.com/v1/chat/completions",
        "HTTP://a/health",
        "//evil.example/v1/chat/completions",
        "http:/v1/chat/completions",
        "http:///v1/chat/completions",
        "a:443",
        "*",
    ],
)
async def test_a_target_that_names_a_host_is_refused(target: str) -> None:
    async with scene(answers) as running:
        answer = await running.proxy.ask(path=target)

    assert answer.status in {400, 404}
    assert running.proxy.provider.exchanges == []
