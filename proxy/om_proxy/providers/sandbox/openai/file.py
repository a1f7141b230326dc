"""OpenAI's files: uploads that batches read, and the outputs they write."""

from __future__ import annotations

import orjson

from om_proxy.providers.sandbox.exchange import Call, Problem, Refused, Reply
from om_proxy.providers.sandbox.form import read_form
from om_proxy.providers.sandbox.openai.answer import LINES, body_reply, object_reply

_PREFIX = "file-"
_ROOT = "/v1/files/"


def upload(call: Call) -> Reply:
    """Answer POST /v1/files."""
    form = read_form(call.incoming)
    taken = form.upload("file")
    file_id = f"{_PREFIX}{call.stamp.token}"
    described = store(call, file_id, taken.content, name=taken.name, purpose=form.required("purpose"))
    return object_reply(call, described)


def store(call: Call, file_id: str, content: bytes, *, name: str, purpose: str) -> dict[str, object]:
    """Remember a file, and describe it."""
    described: dict[str, object] = {
        "id": file_id,
        "object": "file",
        "bytes": len(content),
        "created_at": call.stamp.created,
        "filename": name,
        "purpose": purpose,
        "status": "processed",
        "status_details": None,
        "expires_at": None,
    }
    # The description is one line of JSON, the content follows.
    call.shelf.put(file_id, orjson.dumps(described) + b"\n" + content)
    return described


def content_of(call: Call, file_id: str) -> bytes:
    """Give the bytes of a file, or refuse."""
    return _stored(call, file_id)[1]


def show(call: Call) -> Reply:
    """Answer GET /v1/files/{id} and /v1/files/{id}/content."""
    file_id, _, what = call.incoming.path.removeprefix(_ROOT).partition("/")
    described, content = _stored(call, file_id)
    return body_reply(call, content, LINES) if what == "content" else body_reply(call, described)


def show_all(call: Call) -> Reply:
    """Answer GET /v1/files."""
    data = [orjson.loads(_stored(call, file_id)[0]) for file_id in call.listed(_PREFIX)]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
    return object_reply(call, {"object": "list", "data": data, "has_more": False, **ends})


def delete(call: Call) -> Reply:
    """Answer DELETE /v1/files/{id}."""
    file_id = call.incoming.path.removeprefix(_ROOT)
    _stored(call, file_id)
    call.shelf.drop(file_id)
    return object_reply(call, {"id": file_id, "object": "file", "deleted": True})


def _stored(call: Call, file_id: str) -> tuple[bytes, bytes]:
    kept = call.shelf.get(file_id) if file_id.startswith(_PREFIX) else None
    if kept is None:
        raise Refused(Problem(404, f"No such File object: {file_id}", param="id"))
    described, _, content = kept.partition(b"\n")
    return described, content
