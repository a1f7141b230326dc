"""What an image route is asked for, as JSON or as a form that is scanned where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from om_proxy.call.call import Call, Demand, positive_int
from om_proxy.call.form import Form, is_form, read_form
from om_proxy.call.route import Target
from om_proxy.metering.reading import parse_object
from om_proxy.metering.usage import Unit
from om_proxy.providers.openai.request import call_of, model_of
from om_proxy.refusals.problem import invalid_field, invalid_json
from om_proxy.refusals.refusal import Problem

#: What these routes take where none is named.
_DEFAULT_MODEL = "dall-e-2"
_EDIT_DEFAULT_MODEL = "gpt-image-1"
#: Tokens of one image at the highest documented quality: by its side, and of the sizes that are documented.
_OUTPUT_TOKENS = {"1024x1024": 4_160, "1024x1536": 6_240, "1536x1024": 6_240}
_OUTPUT_TOKENS_MAX = max(_OUTPUT_TOKENS.values())
_PARTIAL_TOKENS = 100
#: Of one image that goes in: a row of tiles at 512 pixels, and as much as an image at high fidelity.
_INPUT_TOKENS_MAX = 8_192
_ATTRIBUTES = ("quality", "size")
_PIECES_MAX = 64
#: More frames and vector graphics have no documented size.
_UNBOUNDED = ("frame_count", "svg")


@dataclass(frozen=True, slots=True)
class _Asked:
    """An image request, however it is written."""

    fields: Mapping[str, object]
    text_bytes: int
    images: int = 0


def read_images(target: Target, body: bytes, *, content_type: str = "") -> Call | Problem:
    """Understand a request for images."""
    asked = _form(body, content_type) if is_form(content_type) else _json(body)
    if isinstance(asked, Problem):
        return asked
    named = target.model or model_of(asked.fields)
    if not named and "model" in asked.fields:
        return invalid_field("model")
    edits = target.route.operation == "image edit"
    model = named or (_EDIT_DEFAULT_MODEL if edits else _DEFAULT_MODEL)
    call = call_of(target, body, {**asked.fields, "model": model}, demand=_demand(asked))
    chosen = ((name, asked.fields.get(name)) for name in _ATTRIBUTES)
    attributes = tuple((name, value) for name, value in chosen if isinstance(value, str) and value)
    return replace(call, attributes=attributes)


def _json(body: bytes) -> _Asked | Problem:
    document = parse_object(body)
    if document is None:
        return invalid_json()
    images = document.get("images", document.get("image"))
    count = len(images) if isinstance(images, list) else int(images is not None)
    return _Asked(document, len(body), count)


def _form(body: bytes, content_type: str) -> _Asked | Problem:
    form = read_form(body, content_type)
    if form is None:
        return invalid_field("form")
    return _Asked(_values(form), form.text_bytes, len(form.files))


def _values(form: Form) -> dict[str, object]:
    """Read a form's texts as JSON would say them."""
    values: dict[str, object] = {name: form.only(name) for name in form.texts}
    for name in ("n", "partial_images", "frame_count"):
        text = form.only(name)
        if text is not None and text.isascii() and text.isdigit():
            values[name] = int(text[:9])
    if form.only("stream") is not None:
        values["stream"] = str(form.only("stream")).lower() in {"true", "1"}
    return values


def _demand(asked: _Asked) -> Demand:
    fields = asked.fields
    pieces = min(positive_int(fields.get("n", 1)) or 1, _PIECES_MAX)
    partial = positive_int(fields.get("partial_images")) or 0
    unbounded = next((name for name in _UNBOUNDED if fields.get(name)), None)
    if fields.get("output_format") == "svg":
        unbounded = unbounded or "output_format"
    size = fields.get("size")
    each = _OUTPUT_TOKENS.get(str(size), _OUTPUT_TOKENS_MAX if size in {None, "", "auto"} else None)
    units = (Unit.INPUT_TOKENS, Unit.IMAGE_INPUT_TOKENS) if asked.images else (Unit.INPUT_TOKENS,)
    return Demand(
        text_bytes=asked.text_bytes,
        prompt_units=units,
        output_units=(Unit.IMAGE_OUTPUT_TOKENS,),
        messages=1,
        images=asked.images,
        image_field="image",
        image_tokens=_INPUT_TOKENS_MAX,
        unbounded_field=unbounded,
        output_field="size",
        output_max=None if each is None else each + min(partial, _PIECES_MAX) * _PARTIAL_TOKENS,
        choices=pieces,
        instead=((Unit.IMAGES, pieces),),
    )
