"""The routes of OpenAI's Responses: create, poll, cancel, delete, count and compact."""

from __future__ import annotations

from om_proxy.providers.sandbox.body import Body, all_text
from om_proxy.providers.sandbox.exchange import Call, Problem, Refused, Reply
from om_proxy.providers.sandbox.openai import response, response_events
from om_proxy.providers.sandbox.openai.answer import event_reply, object_reply
from om_proxy.providers.sandbox.openai.refusals import required_model
from om_proxy.providers.sandbox.script import Ask, count_input, write_script


def create(call: Call, body: Body) -> Reply:
    """Answer at once, as a stream, or with a promise where it is background work."""
    answer = response.decide(call, body)
    if answer.streamed:
        return event_reply(call, response_events.frames(answer))
    return object_reply(call, response.payload(answer, "queued" if answer.background else answer.status))


def show(call: Call) -> Reply:
    """Answer a poll: the work is done unless a switch says where it stands, and the id is the same."""
    answer = response.recall(_response_id(call), call)
    if call.incoming.query.get("stream") == "true":
        after = call.incoming.query.get("starting_after", "")
        return event_reply(
            call, response_events.frames(answer, after=int(after) if after.isdecimal() else -1)
        )
    return object_reply(call, response.payload(answer, call.switches.status or answer.status))


def cancel(call: Call) -> Reply:
    """Cancel background work: its usage is never told."""
    answer = response.recall(_response_id(call), call)
    if not answer.background:
        raise Refused(Problem(400, "Cannot cancel a synchronous response."))
    return object_reply(call, response.payload(answer, "cancelled"))


def delete(call: Call) -> Reply:
    """Forget a response, which was never remembered."""
    answer = response.recall(_response_id(call), call)
    return object_reply(call, {"id": answer.response_id, "object": "response", "deleted": True})


def count(call: Call, body: Body) -> Reply:
    """Count what a response would be charged as input."""
    required_model(body)
    tokens = count_input(response.input_characters(call, body), call.switches) + call.switches.cached
    return object_reply(call, {"object": "response.input_tokens", "input_tokens": tokens})


def compact(call: Call, body: Body) -> Reply:
    """Shorten a conversation: the summary is written like an answer and charged like one."""
    ask = Ask(
        model=required_model(body),
        characters=response.input_characters(call, body),
        output_tokens_max=None,
        text=all_text(body.value("input")) if call.switches.echo else "",
    )
    script = write_script(ask, call.switches)
    summary = {
        "id": f"cmp_{call.stamp.token}",
        "type": "compaction",
        "encrypted_content": f"simulated-{call.stamp.token}",
    }
    return object_reply(
        call,
        {
            "id": f"{response.PREFIX}{call.stamp.token}",
            "object": "response.compaction",
            "created_at": call.stamp.created,
            "output": [summary],
            "usage": response.usage(script, call.switches),
        },
    )


def _response_id(call: Call) -> str:
    # /v1/responses/{id}[/verb]
    return call.incoming.path.removeprefix("/v1/responses/").partition("/")[0]
