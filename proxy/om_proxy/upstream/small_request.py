"""Sends a request that is small enough to go out in one write, on a connection of the library's pool.

The library's session would build the request anew from general parts, and write its body in a task of its
own: that takes longer than all of metering.
"""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import hdrs
from aiohttp.client_reqrep import ClientRequest
from aiohttp.helpers import TimerNoop
from aiohttp.http import StreamWriter
from multidict import CIMultiDict
from yarl import URL

from om_proxy.callers.headers import HeaderList
from om_proxy.upstream.upload import Upload

#: What the transport takes without asking to wait.
SMALL_BYTES_MAX = 64 * 1024

_READ_BYTES = 64 * 1024


class SmallRequests:
    """What all requests of one session have in common. Errors are those of the session."""

    def __init__(
        self, session: aiohttp.ClientSession, *, timeout: aiohttp.ClientTimeout, header_bytes_max: int
    ) -> None:
        self._session = session
        self._timeout = timeout
        self._header_bytes_max = header_bytes_max
        self._loop = asyncio.get_running_loop()
        self._timer = TimerNoop()
        #: A request to each origin, by which the pool knows it. Origins are fixed, so they are few.
        self._origins: dict[URL, ClientRequest] = {}

    async def post(
        self, method: str, url: URL, headers: HeaderList, *, body: bytes, upload: Upload
    ) -> aiohttp.ClientResponse:
        """Send a request that has a body, and give the answer once its headers are there."""
        origin = self._origin_of(url)
        connector = self._session.connector
        if connector is None:
            raise aiohttp.ClientConnectionError("the session is closed")
        connection = await connector.connect(origin, [], self._timeout)
        try:
            return await self._exchange(
                connection, (method, url), _with_length(origin, headers, body), body=body, upload=upload
            )
        except BaseException:
            connection.close()
            raise

    async def _exchange(
        self,
        connection: aiohttp.connector.Connection,
        target: tuple[str, URL],
        headers: CIMultiDict[str],
        *,
        body: bytes,
        upload: Upload,
    ) -> aiohttp.ClientResponse:
        protocol, (method, url) = connection.protocol, target
        if protocol is None or protocol.transport is None or protocol.transport.is_closing():
            raise aiohttp.ClientConnectionResetError("the connection was closed")
        protocol.set_response_params(
            timer=self._timer,
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=_READ_BYTES,
            max_line_size=self._header_bytes_max,
            max_field_size=self._header_bytes_max,
        )
        writer = StreamWriter(protocol, self._loop)
        await writer.write_headers(f"{method} {url.raw_path_qs} HTTP/1.1", headers)
        upload.leaves()
        await writer.write_eof(body)
        response = aiohttp.ClientResponse(
            method,
            url,
            writer=None,
            continue100=None,
            timer=self._timer,
            request_info=self._origin_of(url).request_info,
            traces=[],
            loop=self._loop,
            session=self._session,
            stream_writer=writer,
        )
        try:
            return await response.start(connection)
        except BaseException:
            response.close()
            raise

    def _origin_of(self, url: URL) -> ClientRequest:
        origin = url.origin()
        known = self._origins.get(origin)
        if known is None:
            known = self._origins[origin] = ClientRequest("POST", origin, loop=self._loop)
        return known


def _with_length(origin: ClientRequest, headers: HeaderList, body: bytes) -> CIMultiDict[str]:
    sent = CIMultiDict([(hdrs.HOST, origin.headers[hdrs.HOST])])
    sent.extend(headers)
    sent[hdrs.CONTENT_LENGTH] = str(len(body))
    return sent
