"""OpenAI's images: generations from JSON, edits and variations from forms, plain and streamed."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from om_proxy.providers.sandbox.body import Body
from om_proxy.providers.sandbox.exchange import Call, Reply
from om_proxy.providers.sandbox.form import Form, read_form
from om_proxy.providers.sandbox.openai.answer import event_reply, object_reply
from om_proxy.providers.sandbox.openai.refusals import in_range, known_model, missing
from om_proxy.providers.sandbox.picture import PNG_TEXT
from om_proxy.providers.sandbox.script import count_tokens

_MODEL_DEFAULT = "dall-e-2"
_IMAGES_MAX = 10
_PARTIALS_MAX = 3
# Of a square picture; the real numbers are larger for the other shapes.
_OUTPUT_TOKENS = {"low": 272, "medium": 1_056, "high": 4_160}
_PARTIAL_TOKENS = 100
_INPUT_IMAGE_TOKENS = 323
_SHAPE_TOKENS = {"1536x1024": 1.5, "1024x1536": 1.5}


@dataclass(frozen=True, slots=True)
class _Order:
    """The pictures that are wanted."""

    event: str  # What the events of a stream are called.
    model: str
    prompt: str
    count: int = 1
    quality: str = "auto"
    size: str = "auto"
    output_format: str = "png"
    partials: int = 0
    streamed: bool = False
    inputs: int = 0
    as_url: bool = False


def generate(call: Call, body: Body) -> Reply:
    """Answer POST /v1/images/generations."""
    prompt = body.text("prompt")
    if not prompt:
        raise missing("prompt")
    order = _Order(
        event="image_generation",
        model=known_model(body.text("model") or _MODEL_DEFAULT),
        prompt=prompt,
        count=in_range(_or_one(body.integer("n")), "n", _IMAGES_MAX),
        quality=body.text("quality") or "auto",
        size=body.text("size") or "auto",
        output_format=body.text("output_format") or "png",
        partials=in_range((body.integer("partial_images") or 0) + 1, "partial_images", _PARTIALS_MAX + 1) - 1,
        streamed=body.flag("stream"),
        as_url=body.text("response_format") != "b64_json",
    )
    return _deliver(call, order)


def edit(call: Call) -> Reply:
    """Answer POST /v1/images/edits."""
    form = read_form(call.incoming)
    return _deliver(call, _form_order(form, "image_edit", prompt=form.required("prompt")))


def vary(call: Call) -> Reply:
    """Answer POST /v1/images/variations."""
    return _deliver(call, _form_order(read_form(call.incoming), "image_variation", prompt=""))


def _form_order(form: Form, event: str, *, prompt: str) -> _Order:
    form.upload("image", "image[]")
    partials = in_range(form.integer("partial_images", 0) + 1, "partial_images", _PARTIALS_MAX + 1) - 1
    return _Order(
        event=event,
        model=known_model(form.fields.get("model") or _MODEL_DEFAULT),
        prompt=prompt,
        count=in_range(form.integer("n", 1), "n", _IMAGES_MAX),
        quality=form.fields.get("quality") or "auto",
        size=form.fields.get("size") or "auto",
        output_format=form.fields.get("output_format") or "png",
        partials=partials,
        streamed=form.fields.get("stream") == "true",
        inputs=sum(1 for name, _ in form.files if name in {"image", "image[]"}),
        as_url=form.fields.get("response_format") != "b64_json",
    )


def _deliver(call: Call, order: _Order) -> Reply:
    if order.streamed:
        return event_reply(call, _frames(call, order))
    tokens_priced = _priced_by_token(order)
    picture = (
        {"url": f"https://images.invalid/{call.stamp.token}.png"}
        if order.as_url and not tokens_priced
        else {"b64_json": PNG_TEXT}
    )
    answer: dict[str, object] = {"created": call.stamp.created, "data": [picture] * order.count}
    if tokens_priced:
        answer |= _settings(order)
        if call.switches.usage != "missing":
            answer["usage"] = _usage(call, order)
    return object_reply(call, answer)


def _frames(call: Call, order: _Order) -> list[bytes]:
    shown = {"b64_json": PNG_TEXT, "created_at": call.stamp.created, **_settings(order)}
    frames = [
        _event({"type": f"{order.event}.partial_image", **shown, "partial_image_index": index})
        for index in range(order.partials)
    ]
    for index in range(order.count):
        last = index == order.count - 1
        usage = {"usage": _usage(call, order)} if last and call.switches.usage != "missing" else {}
        frames.append(_event({"type": f"{order.event}.completed", **shown, **usage}))
    return frames


def _event(payload: dict[str, object]) -> bytes:
    return b"event: " + str(payload["type"]).encode() + b"\ndata: " + orjson.dumps(payload) + b"\n\n"


def _settings(order: _Order) -> dict[str, object]:
    quality = "medium" if order.quality not in _OUTPUT_TOKENS else order.quality
    return {
        "background": "opaque",
        "output_format": order.output_format,
        "quality": quality,
        "size": "1024x1024" if order.size == "auto" else order.size,
    }


def _usage(call: Call, order: _Order) -> dict[str, object]:
    text = count_tokens(len(order.prompt))
    if call.switches.input_tokens is not None:
        text = call.switches.input_tokens
    pictures = order.inputs * _INPUT_IMAGE_TOKENS
    each = int(_OUTPUT_TOKENS.get(order.quality, _OUTPUT_TOKENS["medium"]) * _SHAPE_TOKENS.get(order.size, 1))
    output = order.count * each + order.partials * _PARTIAL_TOKENS
    if call.switches.output_tokens is not None:
        output = call.switches.output_tokens
    return {
        "input_tokens": text + pictures,
        "input_tokens_details": {"text_tokens": text, "image_tokens": pictures},
        "output_tokens": output,
        "output_tokens_details": {"image_tokens": output, "text_tokens": 0},
        "total_tokens": text + pictures + output,
    }


def _priced_by_token(order: _Order) -> bool:
    return not order.model.startswith("dall-e")


def _or_one(count: int | None) -> int:
    return 1 if count is None else count
