"""The connection to providers: fixed origins, no redirects, no environment proxies, no cookies."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from om_proxy.headers import HeaderList
from om_proxy.settings import ProxySettings

_HEADER_BYTES_MAX = 64 * 1024
# Above it the library warns against plain bytes, which it writes at once.
_PLAIN_BYTES_MAX = 1024 * 1024
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


class Upload:
    """One request on its way, also for whoever asks after it was given up."""

    def __init__(self) -> None:
        self.tracker = aiohttp.UploadTracker()

    @property
    def sent(self) -> bool:
        """Whether a byte of the body has left; without one no provider can have worked."""
        return self.tracker.bytes_written > 0


class Upstream:
    """One client session for all providers."""

    def __init__(self, settings: ProxySettings) -> None:
        self._response_timeout_s = settings.upstream_timeout_s
        self._idle_timeout_s = settings.upstream_idle_timeout_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=settings.upstream_connections_max, family=socket.AF_UNSPEC),
            # The two other limits are ours: the library has one for the silence before and within an answer.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.upstream_connect_timeout_s),
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

    @asynccontextmanager
    async def send(
        self, url: URL, headers: HeaderList, *, body: bytes, upload: Upload
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and give the answer once its headers are there; leaving the block drops it.

        UpstreamUnreachable, UpstreamTimeout before that; what goes wrong afterwards is the reader's.
        """
        answer = await self._post(url, headers, body=body, upload=upload)
        try:
            yield answer
        finally:
            # After a whole body the connection has been given back already; after half of one it is dropped.
            answer.close()

    async def _post(
        self, url: URL, headers: HeaderList, *, body: bytes, upload: Upload
    ) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout(self._response_timeout_s):
                answer = await self._session.post(
                    url,
                    headers=CIMultiDict(headers),
                    data=body if len(body) <= _PLAIN_BYTES_MAX else BytesIO(body),
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

    async def chunks(self, answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """Give the body as it arrives. UpstreamBroken where it ends too early or stands still."""
        content = answer.content
        try:
            while True:
                async with asyncio.timeout(self._idle_timeout_s):
                    chunk = await content.readany()
                if not chunk:
                    return
                yield chunk
        except (aiohttp.ClientError, OSError):
            raise UpstreamBroken from None
