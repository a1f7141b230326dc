"""The connection to providers: fixed origins, no redirects, no environment proxies, no cookies."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from om_proxy.headers import HeaderList
from om_proxy.settings import ProxySettings

_HEADER_BYTES_MAX = 64 * 1024


class UpstreamUnreachable(Exception):
    """No answer. `sent` tells whether the provider may have got the request."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__()
        self.sent = sent


class UpstreamTimeout(Exception):
    """No answer in time; the provider may have got the request."""


class UpstreamBroken(Exception):
    """The answer ended before its end, or stood still for too long."""


class Upstream:
    """One client session for all providers."""

    def __init__(self, settings: ProxySettings) -> None:
        self._response_timeout_s = settings.upstream_timeout_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=settings.upstream_connections_max, family=socket.AF_UNSPEC),
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=settings.upstream_connect_timeout_s,
                sock_read=settings.upstream_idle_timeout_s,
            ),
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
        self, url: URL, headers: HeaderList, *, body: bytes
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and give the answer once its headers are there; leaving the block drops it.

        UpstreamUnreachable, UpstreamTimeout before that; what goes wrong afterwards is the reader's.
        """
        try:
            async with asyncio.timeout(self._response_timeout_s):
                answer = await self._session.post(
                    url, headers=CIMultiDict(headers), data=body, allow_redirects=False
                )
        except aiohttp.ClientConnectorError:
            raise UpstreamUnreachable(sent=False) from None
        except (aiohttp.ServerTimeoutError, TimeoutError):
            raise UpstreamTimeout from None
        except (aiohttp.ClientError, OSError):
            # The texts of these errors can quote headers, so they end here.
            raise UpstreamUnreachable(sent=True) from None
        try:
            yield answer
        finally:
            # After a whole body the connection has been given back already; after half of one it is dropped.
            answer.close()

    @staticmethod
    async def chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """Give the body as it arrives. UpstreamBroken where it ends too early or stands still."""
        try:
            async for chunk in answer.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError, TimeoutError):
            raise UpstreamBroken from None
