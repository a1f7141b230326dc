"""What the documents use of curl, for machines without it."""

from __future__ import annotations

import http.client
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIMEOUT_S = 20


@dataclass(slots=True)
class Command:
    """A parsed command line."""

    url: str = ""
    method: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: str | None = None
    shows_head: bool = False


def parse(words: Sequence[str]) -> Command:
    """Read the words behind `curl`; ValueError for an option that the documents did not use so far."""
    command, rest = Command(), iter(words)
    for word in rest:
        if word in {"-H", "--header"}:
            name, _, value = next(rest).partition(":")
            command.headers.append((name, value.strip()))
        elif word in {"-d", "--data"}:
            command.body = next(rest)
        elif word in {"-X", "--request"}:
            command.method = next(rest)
        elif word in {"-i", "--include"}:
            command.shows_head = True
        elif word.startswith("-") or command.url:
            raise ValueError(f"curl {word}")
        else:
            command.url = word if "://" in word else f"http://{word}"
    command.method = command.method or ("GET" if command.body is None else "POST")
    return command


def send(command: Command) -> str:
    """Send it, and give what curl would print."""
    url = urllib.parse.urlsplit(command.url)
    connection = http.client.HTTPConnection(url.netloc, timeout=_TIMEOUT_S)
    try:
        target = url.path + (f"?{url.query}" if url.query else "")
        body = None if command.body is None else command.body.encode()
        connection.request(command.method, target, body=body, headers=dict(command.headers))
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    if not command.shows_head:
        return text
    head = [f"HTTP/1.1 {answer.status} {answer.reason}", *(f"{n}: {v}" for n, v in answer.getheaders())]
    return "\n".join([*head, "", text])
