"""Which provider a request is meant for, and its whole answer: a pure function of request and stamp."""

from __future__ import annotations

from dataclasses import replace

from om_proxy.providers.sandbox.allowance import read_switches
from om_proxy.providers.sandbox.anthropic import family as anthropic
from om_proxy.providers.sandbox.exchange import Call, Family, Incoming, Problem, Refused, Reply, Stamp
from om_proxy.providers.sandbox.gemini import family as gemini
from om_proxy.providers.sandbox.openai import family as openai
from om_proxy.providers.sandbox.openai.routes import SHIM
from om_proxy.providers.sandbox.shelf import Shelf
from om_proxy.providers.sandbox.switch import Switches

_GEMINI_PREFIXES = ("/v1beta/", "/v1alpha/", "/v1/tunedModels/")
# Nobody else has these, whatever the headers say.
_OPENAI_PREFIXES = (
    "/v1/chat/",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/images/",
    "/v1/audio/",
    "/v1/moderations",
    "/v1/videos",
    "/v1/batches",
    "/openai/",
    "/api/v1/",
    "/chat/",
    SHIM,
)


def respond(incoming: Incoming, stamp: Stamp, *, shelf: Shelf | None = None, public: bool = False) -> Reply:
    """Answer as the provider would whose address, key and headers the request has.

    An unknown address is refused first, then a bad X-Sim, then the key, then whatever the body gets wrong.
    `public`: directives go only so far as everybody may.
    """
    family = choose_family(incoming)
    call = Call(incoming, Switches(), stamp, Shelf(0) if shelf is None else shelf, public=public)
    try:
        operation = family.find(incoming)
        call = replace(call, switches=read_switches(incoming, public=public))
        _admit(family, call)
        return _interrupted(operation(call), call)
    except Refused as refusal:
        return family.refuse(refusal.problem, call)


def choose_family(incoming: Incoming) -> Family:
    """Tell the provider by the address, else by the headers; OpenAI is the one without marks."""
    path = incoming.path
    if path.startswith(_OPENAI_PREFIXES):
        return openai
    if path.startswith(_GEMINI_PREFIXES) or (incoming.method == "POST" and path.startswith("/v1/models/")):
        return gemini
    if path.startswith("/v1/messages") or "anthropic-version" in incoming.headers:
        return anthropic
    if _has_google_mark(incoming):
        return gemini
    return openai


def _has_google_mark(incoming: Incoming) -> bool:
    headers = incoming.headers
    return "x-goog-api-key" in headers or "x-goog-api-client" in headers or "key" in incoming.query


def _admit(family: Family, call: Call) -> None:
    family.check_key(call.incoming)
    if call.switches.error is not None:
        raise Refused(Problem(call.switches.error, code=call.switches.error_code))


def _interrupted(reply: Reply, call: Call) -> Reply:
    """Let a stream end early where a switch says so."""
    if not reply.streamed:
        return reply
    if call.switches.error_after is not None:
        # Behind the frame that ends a stream nobody would read it.
        count = min(call.switches.error_after, len(reply.frames) - 1)
        return reply.cut(count, choose_family(call.incoming).stream_error(call))
    if call.switches.clean_end_after is not None:
        return reply.cut(call.switches.clean_end_after)
    return reply
