"""What begins deferred work: a video, or a batch of other requests."""

from __future__ import annotations

from dataclasses import replace

from om_proxy.call.call import NOTHING, Call, Demand
from om_proxy.call.form import is_form, read_form
from om_proxy.call.route import Target
from om_proxy.metering.reading import parse_object
from om_proxy.metering.usage import Unit
from om_proxy.providers.openai.request import call_of, model_of
from om_proxy.refusals.problem import invalid_field, invalid_json
from om_proxy.refusals.refusal import Problem

#: A request that goes on from another video, or names a file of requests, leaves it to the provider.
UNNAMED = "unknown"
_VIDEO_MODEL = "sora-2"
_VIDEO_SECONDS = "4"
_MS = 1_000
_DIGITS_MAX = 5


def read_video(target: Target, body: bytes, *, content_type: str = "") -> Call | Problem:
    """Understand a request for a video; its length is the request's, or that of the one it goes on from."""
    fields = _fields(body, content_type)
    if isinstance(fields, Problem):
        return fields
    creates = target.route.operation == "video"
    model = model_of(fields) or (_VIDEO_MODEL if creates else UNNAMED)
    if not creates:
        # The model and the length are those of a video that we do not see.
        fields = {name: value for name, value in fields.items() if name != "seconds"}
    seconds = str(fields.get("seconds") or (_VIDEO_SECONDS if creates else ""))
    bounded = seconds.isascii() and seconds.isdigit() and len(seconds) <= _DIGITS_MAX
    demand = Demand(
        text_bytes=0,
        prompt_units=(),
        output_units=(),
        unbounded_field=None if bounded else "seconds",
        instead=((Unit.VIDEO_SECONDS, int(seconds) * _MS),) if bounded else (),
    )
    size = fields.get("size")
    call = call_of(target, body, {"model": model}, demand=demand)
    return replace(call, attributes=(("size", size),) if isinstance(size, str) and size else ())


def read_batch(target: Target, body: bytes) -> Call | Problem:
    """Understand a batch: what it will consume is in a file at the provider."""
    if parse_object(body) is None:
        return invalid_json()
    demand = replace(NOTHING, unbounded_field="input_file_id")
    return replace(call_of(target, body, {"model": UNNAMED}, demand=demand), tier="batch")


def _fields(body: bytes, content_type: str) -> dict[str, object] | Problem:
    if not is_form(content_type):
        return parse_object(body) or invalid_json()
    form = read_form(body, content_type)
    if form is None:
        return invalid_field("form")
    return {name: form.only(name) for name in form.texts}
