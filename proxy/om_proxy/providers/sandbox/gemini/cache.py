"""Gemini's cachedContents: the name of each tells what is in it, so nothing is remembered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from om_proxy.providers.sandbox.body import Body, count_characters
from om_proxy.providers.sandbox.exchange import Call, Problem, Refused, Reply
from om_proxy.providers.sandbox.gemini.answer import object_reply
from om_proxy.providers.sandbox.gemini.names import camel_case, existing
from om_proxy.providers.sandbox.script import count_input
from om_proxy.providers.sandbox.ticket import read_ticket, write_ticket

PREFIX = "cachedContents/"
_LIFETIME = timedelta(hours=1)


def create(call: Call, body: Body) -> Reply:
    """Answer POST of cachedContents."""
    body = camel_case(body)
    model = existing((body.text("model") or "").removeprefix("models/"))
    characters = count_characters([body.value("contents"), body.value("systemInstruction")])
    facts = {"m": model, "n": count_input(characters, call.switches), "at": call.stamp.created}
    return object_reply(call, _described(call, write_ticket(call, PREFIX, facts)))


def show(call: Call) -> Reply:
    """Answer GET and PATCH of one; what a patch wants is not kept."""
    return object_reply(call, _described(call, _name(call)))


def show_all(call: Call) -> Reply:
    """Answer GET of all of them: nobody remembers any."""
    return object_reply(call, {})


def delete(call: Call) -> Reply:
    """Answer DELETE of one."""
    _described(call, _name(call))
    return object_reply(call, {})


def cached_tokens(call: Call, name: str) -> int:
    """Count what a generation that names this cache reads out of it."""
    facts = read_ticket(call, PREFIX, name)
    if facts is None:
        raise Refused(Problem(403, "CachedContent not found (or permission denied)"))
    return facts.integer("n") or 0


def _described(call: Call, name: str) -> dict[str, object]:
    tokens = cached_tokens(call, name)
    facts = read_ticket(call, PREFIX, name) or Body({})
    created = datetime.fromtimestamp(facts.integer("at") or 0, UTC)
    return {
        "name": name,
        "model": f"models/{facts.text('m')}",
        "createTime": _time(created),
        "updateTime": _time(created),
        "expireTime": _time(created + _LIFETIME),
        "displayName": "",
        "usageMetadata": {"totalTokenCount": tokens},
    }


def _name(call: Call) -> str:
    return call.incoming.path.split("/", 2)[2]


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
