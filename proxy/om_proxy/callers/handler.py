"""One request through the proxy: understand, admit, forward.

What goes wrong before the provider answers is told in the shape that the caller's SDK parses. What
goes wrong afterwards breaks the connection, because a stream that ends cleanly reads as a success.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import Protocol

from aiohttp import web

from om_proxy.abreast import Turnstile, abreast
from om_proxy.admission.keys import Key
from om_proxy.admission.outcome import Intent
from om_proxy.call.call import Call
from om_proxy.call.clamp import with_cap
from om_proxy.call.provider import Provider
from om_proxy.callers.body import BodyLimits, read_body
from om_proxy.callers.coded_body import read_coded, request_coding
from om_proxy.callers.listener import refusal_response
from om_proxy.counts import NONE, Counts
from om_proxy.defect import log_defect
from om_proxy.dialects.attribution import Attribution
from om_proxy.dialects.entrance import Entrance, Understood
from om_proxy.off_loop import INLINE_BYTES_MAX, off_loop
from om_proxy.refusals import problem
from om_proxy.refusals.refusal import Problem
from om_proxy.secret import Credential, Secret
from om_proxy.server.identity import new_event_id
from om_proxy.tracing import TRACE_PARENT, Tracer, Untraced, calling
from om_proxy.upstream.forward import Forwarder, Sending
from om_proxy.upstream.headers import unforwardable

#: What the simulator is shown instead of the caller's provider key.
_SANDBOX_KEY = Secret("sandbox")


class Keys(Protocol):
    """Who knows the platform keys."""

    async def find(self, secret: Secret) -> Key | Problem:
        """Find a key that may send calls."""
        ...


class Admission(Protocol):
    """Who decides whether a call may be made."""

    async def admit(self, event_id: str, key: Key, *, call: Call, who: Attribution) -> Intent | Problem:
        """Decide about a call."""
        ...


class Handler:
    """Answers every request that is not about health."""

    def __init__(  # noqa: PLR0913 - the parts of one process, named by the composition root
        self,
        providers: tuple[Provider, ...],
        *,
        keys: Keys,
        admissions: Admission,
        forwarder: Forwarder,
        limits: BodyLimits,
        counts: Counts | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._entrance = Entrance(providers)
        self._keys = keys
        self._admissions = admissions
        self._forwarder = forwarder
        self._limits = limits
        self._counts = counts or Counts()
        self._tracer = tracer or Untraced()
        self._turnstile = Turnstile()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Forward a request, or refuse it."""
        event_id, begun = new_event_id(), time.perf_counter()
        found = self._entrance.find(request.method, request.raw_path, request.headers)
        if isinstance(found, Problem):
            shape = self._entrance.shape_of(request.raw_path)
            self._counts.refused(found.code)
            self._counts.answered(NONE, NONE, status=found.status, seconds=time.perf_counter() - begun)
            return refusal_response(found, shape, event_id=event_id)
        route = found.target.route
        try:
            answer = await self._answer(request, found, event_id=event_id)
        except asyncio.CancelledError:
            self._counts.left(route.provider, route.path)
            raise
        except Exception as error:
            if request.writer.output_size:
                raise
            log_defect("request_failed", error, event_id=event_id)
            answer = problem.proxy_error()
        seconds = time.perf_counter() - begun
        self._counts.answered(route.provider, route.path, status=answer.status, seconds=seconds)
        if isinstance(answer, Problem):
            self._counts.refused(answer.code, route.provider)
            answer = found.dialect.worded(answer)
            return refusal_response(answer, found.provider.shape, event_id=event_id)
        return answer

    async def _answer(
        self, request: web.BaseRequest, found: Understood, *, event_id: str
    ) -> web.StreamResponse | Problem:
        trace_parent = request.headers.get(TRACE_PARENT, "")
        with self._tracer.request(event_id, trace_parent, route=found.target.route.path) as step:
            sending = await self._prepare(request, found, event_id=event_id)
            if isinstance(sending, Problem):
                step.note("om.refusal", sending.code)
                return sending
            if parent := calling.get().trace_parent:
                # Settlement is seen in the same trace.
                sending.intent.common.trace_parent = parent
            answer = await self._forwarder.forward(request, sending)
            step.note("http.response.status_code", answer.status)
            return answer

    async def _prepare(
        self, request: web.BaseRequest, found: Understood, *, event_id: str
    ) -> Sending | Problem:
        await self._turnstile.enter()
        headers = request.headers
        who = found.dialect.attribution(headers)
        if isinstance(who, Problem):
            return who
        if (name := unforwardable(headers)) is not None:
            return problem.invalid_header(name)
        key = await self._keys.find(who.api_key)
        if isinstance(key, Problem):
            return key
        credential = self._credential(request, found, sandbox=who.sandbox or key.test_mode)
        if isinstance(credential, Problem):
            return credential
        await abreast()
        read = await self._read(request, found, who)
        if isinstance(read, Problem):
            return read
        await abreast()
        with self._tracer.step("admission"):
            intent = await self._admit(event_id, key, found=found, call=read[0], who=read[1])
        if isinstance(intent, Problem):
            return intent
        return Sending(intent, found.provider, found.target, credential)

    def _credential(
        self, request: web.BaseRequest, found: Understood, *, sandbox: bool
    ) -> Credential | Problem:
        if sandbox:
            # The simulator needs no key and is not shown one.
            return found.provider.credential_of(_SANDBOX_KEY)
        query = request.raw_path.partition("?")[2]
        return found.dialect.credential(found.provider, request.headers, query)

    async def _read(
        self, request: web.BaseRequest, found: Understood, who: Attribution
    ) -> tuple[Call, Attribution] | Problem:
        body = await read_body(request, self._limits)
        if isinstance(body, Problem):
            return body
        content_type = request.headers.get("Content-Type", "")
        understand = partial(_understand, found, who, content_type=content_type)
        if coding := request_coding(request.headers):
            limit = self._limits.bytes_max
            # A few bytes may be many once they are decoded.
            return await asyncio.to_thread(read_coded, body, coding, bytes_max=limit, understand=understand)
        if len(body) <= INLINE_BYTES_MAX:
            return understand(body)
        return await asyncio.to_thread(understand, body)

    async def _admit(
        self, event_id: str, key: Key, *, found: Understood, call: Call, who: Attribution
    ) -> Intent | Problem:
        """Admit a call; a smaller one where its caller prefers that to a refusal."""
        answer = await self._admissions.admit(event_id, key, call=call, who=who)
        if not isinstance(answer, Problem) or answer.output_tokens_max is None:
            return answer
        if not (key.clamp_output if who.clamp_output is None else who.clamp_output):
            return answer
        cap = answer.output_tokens_max
        smaller = await off_loop(len(call.body), partial(_clamped, found, call, cap))
        if smaller is None:
            return answer
        return await self._admissions.admit(event_id, key, call=smaller, who=who)


def _understand(
    found: Understood, who: Attribution, body: bytes, *, content_type: str
) -> tuple[Call, Attribution] | Problem:
    asked = found.dialect.asked(found.target, body, who)
    if isinstance(asked, Problem):
        return asked
    call = found.provider.read(found.target, asked.body, content_type=content_type)
    return call if isinstance(call, Problem) else (call, asked.who)


def _clamped(found: Understood, call: Call, cap: int) -> Call | None:
    """Read a call again with a lower output cap; None where it has no cap that can be lowered."""
    body = with_cap(call.body, call.demand.output_field, cap)
    smaller = found.provider.read(found.target, body) if body is not None else None
    if not isinstance(smaller, Call):
        return None
    # What was edited for the first reading is in the body already.
    return replace(smaller, usage_added=call.usage_added, output_clamped=cap)
