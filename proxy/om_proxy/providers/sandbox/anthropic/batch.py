"""Anthropic's message batches: answered at once, and told as ended as soon as somebody asks again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson

from om_proxy.providers.sandbox.allowance import allowed
from om_proxy.providers.sandbox.anthropic import message
from om_proxy.providers.sandbox.body import Body
from om_proxy.providers.sandbox.exchange import Call, Problem, Refused, Stamp
from om_proxy.providers.sandbox.switch import Switches, write_directives

_PREFIX = "msgbatch_"
_ROOT = "/v1/messages/batches/"
_REQUESTS_MAX = 1_000
# A small request can ask for a large answer, and these are all answered at once.
_RESULT_BYTES_MAX = 8 * 1024 * 1024
_FAILED = {"type": "api_error", "message": "Internal server error", "details": None}


def create(call: Call, body: Body) -> bytes:
    """Answer POST /v1/messages/batches."""
    requests = body.items("requests")
    if not requests or len(requests) > _REQUESTS_MAX:
        raise Refused(Problem(400, f"requests: List should have between 1 and {_REQUESTS_MAX} items here"))
    lines: list[bytes] = []
    counts = {"succeeded": 0, "errored": 0}
    for index, request in enumerate(requests):
        if not isinstance(request, dict):
            raise Refused(Problem(400, f"requests.{index}: Input should be an object"))
        result = _result(call, Body(request), index)
        counts[str(result["type"])] += 1
        lines.append(orjson.dumps({"custom_id": request.get("custom_id"), "result": result}) + b"\n")
        if sum(len(line) for line in lines) > _RESULT_BYTES_MAX:
            raise Refused(Problem(400, "The answers to this batch are too long for the simulator."))
    batch = _begun(call, len(requests))
    now = _time(call, hours=0)
    done = {
        "processing_status": "ended",
        "ended_at": now,
        "request_counts": _counts(**counts),
        "results_url": f"{_origin(call)}{_ROOT}{batch['id']}/results",
    }
    call.shelf.put(str(batch["id"]), orjson.dumps(batch | done) + b"\n" + b"".join(lines))
    return orjson.dumps(batch)


def show(call: Call) -> bytes:
    """Answer GET /v1/messages/batches/{id}: ended, unless a switch says where it stands."""
    described, _ = _stored(call)
    if call.switches.status is None:
        return described
    batch = orjson.loads(described)
    total = sum(batch["request_counts"].values())
    still = {"processing_status": "in_progress", "ended_at": None, "results_url": None}
    return orjson.dumps(batch | still | {"request_counts": _counts(processing=total)})


def show_all(call: Call) -> bytes:
    """Answer GET /v1/messages/batches."""
    kept = [call.shelf.get(batch_id) or b"{}" for batch_id in call.listed(_PREFIX)]
    data = [orjson.loads(batch.partition(b"\n")[0]) for batch in kept]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return orjson.dumps({"data": data, "has_more": False, **ends})


def cancel(call: Call) -> bytes:
    """Answer POST /v1/messages/batches/{id}/cancel: nothing was done, so nothing is charged."""
    described, _ = _stored(call)
    batch = orjson.loads(described)
    total = sum(batch["request_counts"].values())
    now = _time(call, hours=0)
    canceled = batch | {"cancel_initiated_at": now, "request_counts": _counts(canceled=total)}
    call.shelf.put(str(batch["id"]), orjson.dumps(canceled) + b"\n")
    return orjson.dumps(canceled | {"processing_status": "canceling", "ended_at": None, "results_url": None})


def delete(call: Call) -> bytes:
    """Answer DELETE /v1/messages/batches/{id}."""
    _stored(call)
    call.shelf.drop(_batch_id(call))
    return orjson.dumps({"id": _batch_id(call), "type": "message_batch_deleted"})


def results(call: Call) -> bytes:
    """Answer GET /v1/messages/batches/{id}/results with a line for each request."""
    return _stored(call)[1]


def _result(call: Call, request: Body, index: int) -> dict[str, object]:
    if index < call.switches.errored:
        error = {"type": "error", "error": _FAILED, "request_id": f"req_{call.stamp.token}"}
        return {"type": "errored", "error": error}
    params = request.section("params")
    stamp = Stamp(f"{call.stamp.token[:-4]}{index:04x}", call.stamp.created)
    directives = write_directives(call.switches, [name for name in Switches.__slots__ if name != "tier"])
    switches = allowed(directives, params.text("model") or "", public=call.public)
    decided = message.decide(params, replace(switches, tier=call.switches.tier or "batch"))
    return {"type": "succeeded", "message": orjson.loads(message.message_body(decided, stamp))}


def _begun(call: Call, requests: int) -> dict[str, object]:
    return {
        "id": f"{_PREFIX}{call.stamp.token}",
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": _counts(processing=requests),
        "created_at": _time(call, hours=0),
        "expires_at": _time(call, hours=24),
        "ended_at": None,
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": None,
    }


def _counts(**counts: int) -> dict[str, int]:
    return {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0, **counts}


def _time(call: Call, *, hours: int) -> str:
    return (datetime.fromtimestamp(call.stamp.created, UTC) + timedelta(hours=hours)).isoformat()


def _origin(call: Call) -> str:
    return f"http://{call.incoming.headers.get('host', 'localhost')}"


def _batch_id(call: Call) -> str:
    return call.incoming.path.removeprefix(_ROOT).partition("/")[0]


def _stored(call: Call) -> tuple[bytes, bytes]:
    batch_id = _batch_id(call)
    kept = call.shelf.get(batch_id) if batch_id.startswith(_PREFIX) else None
    if kept is None:
        raise Refused(Problem(404))
    described, _, lines = kept.partition(b"\n")
    return described, lines
