"""The connection to providers: fixed origins, no redirects, no environment proxies, no cookies."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from om_proxy.callers.headers import HeaderList
from om_proxy.settings import ProxySettings
from om_proxy.upstream.patience import Patience
from om_proxy.upstream.silence import Silence
from om_proxy.upstream.upload import Upload
from om_proxy.upstream.wire import AddressGuard, StrictConnector

_HEADER_BYTES_MAX = 64 * 1024
_SWITCHING_PROTOCOLS = 101


class UpstreamUnreachable(Exception):
    """No answer. `sent` tells whether the provider may have got the request."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__()
        self.sent = sent


class UpstreamTimeout(Exception):
    """No answer in time. `sent` tells whether the provider may have got the request."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__()
        self.sent = sent


class UpstreamBroken(Exception):
    """The answer ended before its end, or stood still for too long."""


class Upstream:
    """One client session for all providers."""

    def __init__(self, settings: ProxySettings) -> None:
        self._patience = Patience(settings.upstream_timeout_s)
        self._idle_timeout_s = settings.upstream_idle_timeout_s
        # The two other limits are ours: the library has one for the silence before and within an answer.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.upstream_connect_timeout_s)
        self._session = aiohttp.ClientSession(
            connector=StrictConnector(
                AddressGuard(settings.private_hosts, timeout_s=settings.upstream_connect_timeout_s),
                connections_max=settings.upstream_connections_max,
            ),
            timeout=timeout,
            # A cookie of one tenant must not go with another tenant's request.
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            trust_env=False,
            max_line_size=_HEADER_BYTES_MAX,
            max_field_size=_HEADER_BYTES_MAX,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    def send(
        self, url: URL, headers: HeaderList, *, body: bytes, upload: Upload, method: str = "POST"
    ) -> Sent:
        """Send a request and give the answer once its headers are there; leaving the block drops it.

        UpstreamUnreachable, UpstreamTimeout before that; what goes wrong afterwards is the reader's.
        """
        return Sent(self._request(url, headers, body=body, upload=upload, method=method))

    async def _request(
        self, url: URL, headers: HeaderList, *, body: bytes, upload: Upload, method: str
    ) -> aiohttp.ClientResponse:
        try:
            with self._patience.wait():
                answer = await self._session.request(
                    method,
                    url,
                    headers=CIMultiDict(headers),
                    # An empty body is none, but for the one method that always has one.
                    data=upload.payload(body) if body or method == "POST" else None,
                    allow_redirects=False,
                    upload_tracker=upload.tracker,
                )
        except aiohttp.ClientConnectorError:
            raise UpstreamUnreachable(sent=False) from None
        except TimeoutError:
            raise UpstreamTimeout(sent=upload.sent) from None
        except (aiohttp.ClientError, OSError):
            # The texts of these errors can quote headers, so they end here.
            raise UpstreamUnreachable(sent=upload.sent) from None
        if answer.status == _SWITCHING_PROTOCOLS:
            # Nobody asked for it, and what follows is no HTTP.
            answer.close()
            raise UpstreamUnreachable(sent=True)
        return answer

    def chunks(self, answer: aiohttp.ClientResponse) -> Chunks:
        """Give the body as it arrives."""
        return Chunks(answer.content, self._idle_timeout_s)


# Written out: generators that manage contexts and iterate are looked after by the loop, at each call.
class Sent:
    """A request on its way; in the block, its answer."""

    __slots__ = ("_answer", "_request")

    def __init__(self, request: Coroutine[None, None, aiohttp.ClientResponse]) -> None:
        self._request = request
        self._answer: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> aiohttp.ClientResponse:
        self._answer = await self._request
        return self._answer

    async def __aexit__(self, *_: object) -> None:
        # After a whole body the connection has been given back already; after half of one it is dropped.
        if self._answer is not None:
            self._answer.close()


class Chunks:
    """A body as it arrives. UpstreamBroken where it ends too early or stands still."""

    __slots__ = ("_content", "_silence")

    def __init__(self, content: aiohttp.StreamReader, idle_timeout_s: float) -> None:
        self._content = content
        self._silence = Silence(content, idle_timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._silence.stop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self._silence.begins()
        try:
            chunk = await self._content.readany()
        except (aiohttp.ClientError, OSError):
            raise UpstreamBroken from None
        self._silence.ends()
        if not chunk:
            raise StopAsyncIteration
        return chunk
