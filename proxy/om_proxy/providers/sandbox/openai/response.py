"""OpenAI's Responses: what a request is answered with, as an object. The id tells all of it again."""

from __future__ import annotations

from dataclasses import dataclass, replace

from om_proxy.providers.sandbox.allowance import allowed
from om_proxy.providers.sandbox.body import Body, all_text, count_characters, first_tool
from om_proxy.providers.sandbox.exchange import Call, Problem, Refused, Stamp
from om_proxy.providers.sandbox.openai.refusals import missing, required_model
from om_proxy.providers.sandbox.script import THOUGHT, Ask, Form, Script, write_script
from om_proxy.providers.sandbox.switch import Switches, write_directives
from om_proxy.providers.sandbox.ticket import read_ticket, write_ticket

PREFIX = "resp_"
# The tier that serves a request which asks for the left one; others serve themselves.
_SERVED_TIERS = {"auto": "default", "fast": "priority"}
# What polling must know again; the others are about the transport of one answer.
_KEPT_SWITCHES = (
    "output_tokens",
    "input_tokens",
    "reasoning",
    "silent",
    "tool_call",
    "refusal",
    "web_searches",
    "cached",
    "cache_write",
    "unicode",
    "tier",
    "served_model",
    "usage",
)
_NO_PICTURES: dict[str, object] = {
    "input_tokens": 0,
    "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"text_tokens": 0, "image_tokens": 0},
    "total_tokens": 0,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that is decided and only has to be written down."""

    response_id: str
    stamp: Stamp  # Of the request that began it.
    ask: Ask
    script: Script
    switches: Switches
    requested_tier: str
    background: bool
    streamed: bool = False
    obfuscated: bool = True

    @property
    def status(self) -> str:
        """Where it stands when it is done."""
        return "incomplete" if self.script.cut else "completed"


def decide(call: Call, body: Body) -> Answer:
    """Read the request and decide the answer; raises Refused for what OpenAI refuses."""
    ask = _read_ask(call, body)
    background = body.flag("background")
    tier = body.text("service_tier") or "auto"
    facts = {
        "m": ask.model,
        "c": ask.characters,
        "o": ask.output_tokens_max,
        "t": ask.tool,
        "k": "" if tier == "auto" else tier,
        "b": background,
        "at": call.stamp.created,
        "s": write_directives(call.switches, _KEPT_SWITCHES),
    }
    return Answer(
        response_id=write_ticket(call, PREFIX, facts),
        stamp=call.stamp,
        ask=ask,
        script=write_script(ask, call.switches),
        switches=call.switches,
        requested_tier=tier,
        background=background,
        streamed=body.flag("stream"),
        obfuscated=body.section("stream_options").value("include_obfuscation") is not False,
    )


def recall(response_id: str, call: Call) -> Answer:
    """Read a response out of its id, or refuse an id that no response has."""
    facts = read_ticket(call, PREFIX, response_id)
    if facts is None:
        raise Refused(Problem(404, f"Response with id '{response_id}' not found."))
    # Whoever asks may have written the id.
    switches = allowed(facts.text("s") or "", public=call.public)
    ask = Ask(
        model=facts.text("m") or "",
        characters=facts.integer("c") or 0,
        output_tokens_max=facts.integer("o"),
        tool=facts.text("t"),
    )
    token = response_id.removeprefix(PREFIX)[:24]
    return Answer(
        response_id=response_id,
        stamp=Stamp(token, facts.integer("at") or 0),
        ask=ask,
        script=write_script(ask, switches),
        switches=switches,
        requested_tier=facts.text("k") or "auto",
        background=facts.flag("b"),
    )


def payload(answer: Answer, status: str) -> dict[str, object]:
    """Write the response object as it is in this state."""
    done = status in {"completed", "incomplete"}
    served = answer.switches.tier or _SERVED_TIERS.get(answer.requested_tier, answer.requested_tier)
    error = {"code": "server_error", "message": "The simulated work failed."} if status == "failed" else None
    cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
    written: dict[str, object] = {
        "id": answer.response_id,
        "object": "response",
        "created_at": answer.stamp.created,
        "status": status,
        "background": answer.background,
        "completed_at": answer.stamp.created if status == "completed" else None,
        "error": error,
        "incomplete_details": cut,
        "instructions": None,
        "max_output_tokens": answer.ask.output_tokens_max,
        "metadata": {},
        "model": answer.script.model,
        "output": items(answer) if done else [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": "medium", "summary": None},
        "service_tier": served if done else answer.requested_tier,
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage(answer.script, answer.switches) if done else None,
        "user": None,
    }
    if done and answer.switches.web_searches:
        # Where there is one, every family is in it.
        searched = {"num_requests": answer.switches.web_searches}
        written["tool_usage"] = {"image_gen": _NO_PICTURES, "web_search": searched}
    return written


def items(answer: Answer) -> list[dict[str, object]]:
    """Write the output items."""
    script, token = answer.script, answer.stamp.token
    written: list[dict[str, object]] = [
        _search(f"ws_{token}{index}") for index in range(answer.switches.web_searches)
    ]
    if script.reasoning_tokens:
        shown = [] if answer.switches.silent else [{"type": "summary_text", "text": THOUGHT}]
        written.append({"id": f"rs_{token}", "type": "reasoning", "summary": shown})
    state = "incomplete" if script.cut else "completed"
    if script.form is Form.TOOL_CALL:
        call: dict[str, object] = {"id": f"fc_{token}", "type": "function_call", "status": state}
        written.append(call | {"call_id": f"call_{token}", "name": script.tool, "arguments": script.text})
    elif script.text:
        message: dict[str, object] = {"id": f"msg_{token}", "type": "message", "status": state}
        written.append(message | {"role": "assistant", "content": [part(script)]})
    return written


def part(script: Script) -> dict[str, object]:
    """Write the content of a message."""
    if script.form is Form.REFUSAL:
        return {"type": "refusal", "refusal": script.text}
    return {"type": "output_text", "text": script.text, "annotations": [], "logprobs": []}


def usage(script: Script, switches: Switches) -> dict[str, object] | None:
    """Count as Responses do: totals include cached and written input, and reasoning."""
    if switches.usage == "missing":
        return None
    input_tokens = script.fresh_tokens + switches.cached + switches.cache_write
    details = {"cached_tokens": switches.cached, "cache_write_tokens": switches.cache_write}
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": details,
        "output_tokens": script.output_tokens,
        "output_tokens_details": {"reasoning_tokens": script.reasoning_tokens},
        "total_tokens": input_tokens + script.output_tokens,
    }


def input_characters(call: Call, body: Body) -> int:
    """Count the text of a request; what stands in an earlier response counts again."""
    given = body.value("input")
    if given is None and not body.text("previous_response_id"):
        raise missing("input")
    earlier = read_ticket(call, PREFIX, body.text("previous_response_id") or "")
    before = 0 if earlier is None else earlier.integer("c") or 0
    return before + count_characters([given, body.value("instructions")])


def _read_ask(call: Call, body: Body) -> Ask:
    try:
        model = required_model(body)
    except Refused as refused:
        # Elsewhere an unknown model is a 404.
        raise Refused(replace(refused.problem, status=400)) from None
    return Ask(
        model=model,
        characters=input_characters(call, body),
        output_tokens_max=body.integer("max_output_tokens"),
        tool=first_tool(body),
        text=all_text(body.value("input")) if call.switches.echo else "",
    )


def _search(item_id: str) -> dict[str, object]:
    query = "simulated query"
    action: dict[str, object] = {"type": "search", "query": query, "queries": [query], "sources": []}
    return {"id": item_id, "type": "web_search_call", "status": "completed", "action": action}
