"""The client of providers: fixed origins, no redirects, no environment proxies, no cookies, no second try."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import lru_cache
from typing import Self

from om_proxy.settings import ProxySettings
from om_proxy.upstream.address_guard import AddressGuard
from om_proxy.upstream.answer import Answer
from om_proxy.upstream.connection import ConnectionBroken
from om_proxy.upstream.dialer import Dialer, Origin, origin_of
from om_proxy.upstream.headers import RawHeaders, head_of
from om_proxy.upstream.patience import Patience
from om_proxy.upstream.pool import Pool
from om_proxy.upstream.silence import Silence
from om_proxy.upstream.upload import Upload

_ORIGINS_MAX = 1024


class UpstreamSilent(Exception):
    """No answer. `sent` tells whether the provider may have got the request."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__()
        self.sent = sent


class UpstreamUnreachable(UpstreamSilent):
    """There will be none."""


class UpstreamTimeout(UpstreamSilent):
    """None has come in time."""


class Upstream:
    """One client for all providers."""

    def __init__(self, settings: ProxySettings) -> None:
        self._patience = Patience(settings.upstream_timeout_s)
        self._idle_timeout_s = settings.upstream_idle_timeout_s
        connect_s = settings.upstream_connect_timeout_s
        guard = AddressGuard(settings.private_hosts, timeout_s=connect_s)
        self._pool = Pool(
            Dialer(guard, timeout_s=connect_s), connections_max=settings.upstream_connections_max
        )
        self._origin = lru_cache(_ORIGINS_MAX)(origin_of)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    def send(
        self, origin: str, target: str, headers: RawHeaders, *, upload: Upload, method: str = "POST"
    ) -> Sent:
        """Send a request and give the answer once its headers are there; leaving the block drops it.

        `target` is path and query as they go out. UpstreamUnreachable, UpstreamTimeout before that; what
        goes wrong afterwards is the reader's.
        """
        place, size = self._origin(origin), len(upload.body)
        # An empty body is none, but for the one method that always has one.
        sized = [(b"Content-Length", b"%d" % size)] if size or method == "POST" else []
        head = request_head(f"{method} {target}", [(b"Host", place.name), *headers, *sized])
        return Sent(self._request(place, head, upload))

    async def _request(self, place: Origin, head: bytes, upload: Upload) -> Answer:
        try:
            with self._patience.wait():
                connection = await self._pool.connection(place)
                return await connection.ask(head, upload)
        except TimeoutError:
            raise UpstreamTimeout(sent=upload.sent) from None
        except (ConnectionBroken, OSError):
            raise UpstreamUnreachable(sent=upload.sent) from None

    def chunks(self, answer: Answer) -> Chunks:
        """Give the body as it arrives."""
        return Chunks(answer, self._idle_timeout_s)


def request_head(begun: str, headers: RawHeaders) -> bytes:
    """Write the head of a request from method and target. ValueError where a header is more than one line."""
    head = head_of(b"%b HTTP/1.1" % begun.encode("utf-8", "surrogateescape"), headers)
    # Of the first line, of each header, and of the empty line.
    ends = len(headers) + 2
    if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
        raise ValueError("a header has more than one line")
    return head


# Written out: generators that manage contexts and iterate are looked after by the loop, at each call.
class Sent:
    """A request on its way; in the block, its answer."""

    __slots__ = ("_answer", "_request")

    def __init__(self, request: Coroutine[None, None, Answer]) -> None:
        self._request = request
        self._answer: Answer | None = None

    async def __aenter__(self) -> Answer:
        self._answer = await self._request
        return self._answer

    async def __aexit__(self, *_: object) -> None:
        # After a whole body the connection has been given back already; after half of one it is dropped.
        if self._answer is not None:
            self._answer.close()


class Chunks:
    """A body as it arrives. UpstreamBroken where it ends too early or stands still."""

    __slots__ = ("_answer", "_silence")

    def __init__(self, answer: Answer, idle_timeout_s: float) -> None:
        self._answer = answer
        self._silence = Silence(answer.close, idle_timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._silence.stop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self._silence.begins()
        chunk = await self._answer.part()
        self._silence.ends()
        if not chunk:
            raise StopAsyncIteration
        return chunk
