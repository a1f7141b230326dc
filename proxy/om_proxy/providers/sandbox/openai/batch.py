"""OpenAI's batches: requests out of a file, answers into one, done as soon as somebody asks again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus

import orjson

from om_proxy.providers.sandbox.allowance import allowed
from om_proxy.providers.sandbox.body import Body
from om_proxy.providers.sandbox.exchange import Call, Incoming, Problem, Refused, Reply, Stamp
from om_proxy.providers.sandbox.openai import file
from om_proxy.providers.sandbox.openai.answer import object_reply
from om_proxy.providers.sandbox.openai.problem import refuse
from om_proxy.providers.sandbox.openai.refusals import missing
from om_proxy.providers.sandbox.switch import Switches, write_directives

_PREFIX = "batch_"
_ROOT = "/v1/batches/"
_DAY_S = 86_400
# A small request can ask for a large answer, and these are all answered at once.
_LINES_MAX = 1_000
_OUTPUT_BYTES_MAX = 8 * 1024 * 1024
_ENDPOINTS = frozenset(
    {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/moderations"}
)


@dataclass(slots=True)
class _Sums:
    """What a finished batch reports of all its requests."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def add(self, usage: Body) -> None:
        """Add a usage object of any operation."""
        self.input_tokens += usage.integer("input_tokens") or usage.integer("prompt_tokens") or 0
        self.output_tokens += usage.integer("output_tokens") or usage.integer("completion_tokens") or 0
        for name in ("input_tokens_details", "prompt_tokens_details"):
            self.cached_tokens += usage.section(name).integer("cached_tokens") or 0
        for name in ("output_tokens_details", "completion_tokens_details"):
            self.reasoning_tokens += usage.section(name).integer("reasoning_tokens") or 0

    def usage(self) -> dict[str, object]:
        """Write them in the form of Responses."""
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cached_tokens": self.cached_tokens},
            "output_tokens": self.output_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": self.input_tokens + self.output_tokens,
        }


def create(call: Call, body: Body, perform: Callable[[Call], Reply]) -> Reply:
    """Answer POST /v1/batches; `perform` answers each line of the file as if it had come alone."""
    input_file, endpoint = body.text("input_file_id"), body.text("endpoint")
    if not input_file:
        raise missing("input_file_id")
    if endpoint not in _ENDPOINTS:
        raise Refused(Problem(400, f"Invalid value for 'endpoint': '{endpoint}'.", param="endpoint"))
    lines = [line for line in file.content_of(call, input_file).splitlines() if line.strip()]
    if not 1 <= len(lines) <= _LINES_MAX:
        raise Refused(Problem(400, f"A batch has between 1 and {_LINES_MAX} requests here."))
    output: list[bytes] = []
    failed: list[bytes] = []
    sums = _Sums()
    for succeeded, line in _answers(call, lines, endpoint, perform=perform, sums=sums):
        (output if succeeded else failed).append(line)
        if sum(len(written) for written in output) > _OUTPUT_BYTES_MAX:
            raise Refused(Problem(400, "The answers to this batch are too long for the simulator."))
    batch = _begun(call, input_file, endpoint, window=body.text("completion_window") or "24h")
    batch["metadata"] = body.value("metadata")
    call.shelf.put(str(batch["id"]), orjson.dumps(batch | _done(call, output, failed, sums=sums)))
    return object_reply(call, batch)


def show(call: Call) -> Reply:
    """Answer GET /v1/batches/{id}: done, unless a switch says where it stands."""
    batch = _stored(call, call.incoming.path.removeprefix(_ROOT))
    if call.switches.status is None:
        return object_reply(call, batch)
    open_ones = {"status": "in_progress", "output_file_id": None, "completed_at": None, "usage": None}
    return object_reply(call, {**batch, **open_ones})


def show_all(call: Call) -> Reply:
    """Answer GET /v1/batches."""
    data = [_stored(call, batch_id) for batch_id in call.listed(_PREFIX)]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
    return object_reply(call, {"object": "list", "data": data, "has_more": False, **ends})


def cancel(call: Call) -> Reply:
    """Answer POST /v1/batches/{id}/cancel."""
    batch = _stored(call, call.incoming.path.removeprefix(_ROOT).removesuffix("/cancel"))
    unfinished = {"output_file_id": None, "error_file_id": None, "completed_at": None, "usage": None}
    stopped = {**batch, **unfinished, "status": "cancelled", "cancelled_at": call.stamp.created}
    call.shelf.put(str(batch["id"]), orjson.dumps(stopped))
    return object_reply(call, {**stopped, "status": "cancelling", "cancelled_at": None})


def _answers(
    call: Call, lines: list[bytes], endpoint: str, *, perform: Callable[[Call], Reply], sums: _Sums
) -> Iterator[tuple[bool, bytes]]:
    for index, line in enumerate(lines):
        request = _line(line, index)
        stamp = Stamp(f"{call.stamp.token[:-4]}{index:04x}", call.stamp.created)
        inner = Incoming(
            "POST", endpoint, {}, call.incoming.headers, orjson.dumps(request.section("body").fields)
        )
        alone = replace(call, incoming=inner, stamp=stamp, switches=_switches(call, request))
        reply = refuse(Problem(500), alone) if index < call.switches.errored else _performed(perform, alone)
        answer = orjson.loads(reply.body)
        succeeded = reply.status == HTTPStatus.OK
        if succeeded:
            sums.add(Body(answer).section("usage"))
        response = {"status_code": reply.status, "request_id": f"req_{stamp.token}", "body": answer}
        result = {"custom_id": request.text("custom_id"), "response": response, "error": None}
        yield succeeded, orjson.dumps({"id": f"batch_req_{stamp.token}", **result})


def _switches(call: Call, request: Body) -> Switches:
    """A line's model may have directives of its own behind its name."""
    directives = write_directives(call.switches, Switches.__slots__)
    return allowed(directives, request.section("body").text("model") or "", public=call.public)


def _performed(perform: Callable[[Call], Reply], call: Call) -> Reply:
    try:
        return perform(call)
    except Refused as refused:
        return refuse(refused.problem, call)


def _line(line: bytes, index: int) -> Body:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        fields = None
    if not isinstance(fields, dict) or Body(fields).section("body").flag("stream"):
        raise Refused(Problem(400, f"Line {index + 1} of the input file is not a request of a batch."))
    return Body(fields)


def _begun(call: Call, input_file: str, endpoint: str, *, window: str) -> dict[str, object]:
    return {
        "id": f"{_PREFIX}{call.stamp.token}",
        "object": "batch",
        "endpoint": endpoint,
        "errors": None,
        "input_file_id": input_file,
        "completion_window": window,
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": call.stamp.created,
        "expires_at": call.stamp.created + _DAY_S,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
    }


def _done(call: Call, output: list[bytes], failed: list[bytes], *, sums: _Sums) -> dict[str, object]:
    token, now = call.stamp.token, call.stamp.created
    done: dict[str, object] = {
        "status": "completed",
        "in_progress_at": now,
        "finalizing_at": now,
        "completed_at": now,
        "request_counts": {
            "total": len(output) + len(failed),
            "completed": len(output),
            "failed": len(failed),
        },
        "usage": sums.usage(),
    }
    for name, lines in (("output", output), ("error", failed)):
        if lines:
            file_id = f"file-{token}-{name}"
            content = b"\n".join(lines) + b"\n"
            file.store(call, file_id, content, name=f"batch_{token}_{name}.jsonl", purpose="batch_output")
            done[f"{name}_file_id"] = file_id
    return done


def _stored(call: Call, batch_id: str) -> dict[str, object]:
    kept = call.shelf.get(batch_id) if batch_id.startswith(_PREFIX) else None
    if kept is None:
        raise Refused(Problem(404, f"No batch found with id '{batch_id}'."))
    batch: dict[str, object] = orjson.loads(kept)
    return batch
