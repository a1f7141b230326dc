"""OpenAI's videos: jobs that are done as soon as somebody asks again, and priced by seconds and size."""

from __future__ import annotations

from om_proxy.providers.sandbox.body import Body, read_body
from om_proxy.providers.sandbox.exchange import Call, Problem, Refused, Reply
from om_proxy.providers.sandbox.form import read_form
from om_proxy.providers.sandbox.openai.answer import body_reply, object_reply
from om_proxy.providers.sandbox.openai.refusals import known_model, missing
from om_proxy.providers.sandbox.picture import PNG
from om_proxy.providers.sandbox.ticket import read_ticket, write_ticket

_PREFIX = "video_"
_ROOT = "/v1/videos/"
_MODEL_DEFAULT = "sora-2"
_SECONDS_DEFAULT = "4"
_SIZE_DEFAULT = "720x1280"
_MALFORMED = Problem(400, "We could not parse the body of your request.")


def create(call: Call) -> Reply:
    """Answer POST /v1/videos, which SDKs send as a form."""
    asked = _fields(call)
    if not asked.text("prompt"):
        raise missing("prompt")
    facts = {
        "m": known_model(asked.text("model") or _MODEL_DEFAULT),
        "s": asked.text("seconds") or _SECONDS_DEFAULT,
        "z": asked.text("size") or _SIZE_DEFAULT,
        "at": call.stamp.created,
    }
    video_id = write_ticket(call, _PREFIX, facts)
    return object_reply(call, _described(call, video_id, status="queued"))


def show(call: Call) -> Reply:
    """Answer GET of a job: done, unless a switch says where it stands."""
    status = call.switches.status or "completed"
    return object_reply(call, _described(call, _video_id(call), status=status))


def content(call: Call) -> Reply:
    """Answer GET of the video itself."""
    _described(call, _video_id(call), status="completed")
    return body_reply(call, PNG, ("content-type", "video/mp4"))


def delete(call: Call) -> Reply:
    """Answer DELETE of a job."""
    video_id = _video_id(call)
    _described(call, video_id, status="completed")
    return object_reply(call, {"id": video_id, "object": "video.deleted", "deleted": True})


def _fields(call: Call) -> Body:
    if call.incoming.headers.get("content-type", "").startswith("application/json"):
        return read_body(call.incoming, _MALFORMED)
    return Body(read_form(call.incoming).fields)


def _video_id(call: Call) -> str:
    return call.incoming.path.removeprefix(_ROOT).partition("/")[0]


def _described(call: Call, video_id: str, *, status: str) -> dict[str, object]:
    facts = read_ticket(call, _PREFIX, video_id)
    if facts is None:
        raise Refused(Problem(404, f"Video with id '{video_id}' not found."))
    failed = {"code": "server_error", "message": "The simulated work failed."} if status == "failed" else None
    created = facts.integer("at") or 0
    return {
        "id": video_id,
        "object": "video",
        "model": facts.text("m"),
        "status": status,
        "progress": 100 if status == "completed" else 0,
        "prompt": None,
        "seconds": facts.text("s"),
        "size": facts.text("z"),
        "created_at": created,
        "completed_at": created if status == "completed" else None,
        "expires_at": None,
        "error": failed,
        "remixed_from_video_id": None,
    }
