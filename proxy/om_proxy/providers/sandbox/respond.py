"""Which provider a request is meant for, and its whole answer: a pure function of request and stamp."""

from __future__ import annotations

from om_proxy.providers.sandbox import anthropic, gemini, openai
from om_proxy.providers.sandbox.exchange import Call, Family, Incoming, Problem, Refused, Reply, Stamp
from om_proxy.providers.sandbox.switch import HEADER, InvalidSwitch, Switches, parse_switches

_GEMINI_PREFIXES = ("/v1beta/", "/v1alpha/", "/v1/tunedModels/")
# Nobody else has these, whatever the headers say.
_OPENAI_PREFIXES = ("/v1/chat/", "/v1/responses", "/v1/embeddings", "/v1/images/", "/v1/audio/")


def respond(incoming: Incoming, stamp: Stamp) -> Reply:
    """Answer as the provider would whose address, key and headers the request has.

    An unknown address is refused first, then a bad X-Sim, then the key, then whatever the body gets wrong.
    """
    family = choose_family(incoming)
    call = Call(incoming, Switches(), stamp)
    try:
        operation = family.find(incoming)
        call = Call(incoming, _read_switches(incoming), stamp)
        _admit(family, call)
        return _interrupted(operation(call), call)
    except Refused as refusal:
        return family.refuse(refusal.problem, call)


def choose_family(incoming: Incoming) -> Family:
    """Tell the provider by the address, else by the headers; OpenAI is the one without marks."""
    path = incoming.path
    if path.startswith(_GEMINI_PREFIXES) or (incoming.method == "POST" and path.startswith("/v1/models/")):
        return gemini
    if path.startswith(_OPENAI_PREFIXES):
        return openai
    if path.startswith("/v1/messages") or "anthropic-version" in incoming.headers:
        return anthropic
    if _has_google_mark(incoming):
        return gemini
    return openai


def _has_google_mark(incoming: Incoming) -> bool:
    headers = incoming.headers
    return "x-goog-api-key" in headers or "x-goog-api-client" in headers or "key" in incoming.query


def _read_switches(incoming: Incoming) -> Switches:
    try:
        return parse_switches(incoming.headers.get(HEADER, ""))
    except InvalidSwitch as invalid:
        raise Refused(Problem(400, str(invalid), param=HEADER)) from None


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
