"""What an audio route is asked for: a recording to be written down, or a text to be spoken."""

from __future__ import annotations

from om_proxy.call.call import Call, Demand
from om_proxy.call.form import File, is_form, read_form
from om_proxy.call.route import Target
from om_proxy.metering.usage import Unit
from om_proxy.providers.openai.request import call_of, model_of, named_document
from om_proxy.refusals.problem import invalid_field
from om_proxy.refusals.refusal import Problem

#: The least that a second of sound takes: two kilobits, less than any codec that is accepted makes of speech.
_BYTES_PER_SECOND_MIN = 250
_MS = 1_000
_RIFF, _WAVE, _FMT, _DATA = b"RIFF", b"WAVE", b"fmt ", b"data"
_CHUNK_HEAD = 8
_FMT_BYTES = 16
_CHUNKS_MAX = 32
#: Of WAV: samples as integers and as floating-point numbers.
_PLAIN_SAMPLES = frozenset({1, 3})


def read_transcription(target: Target, body: bytes, *, content_type: str = "") -> Call | Problem:
    """Understand a recording's form."""
    form = read_form(body, content_type) if is_form(content_type) else None
    if form is None:
        return invalid_field("form")
    model = target.model or model_of({"model": form.only("model")})
    if not model:
        return invalid_field("model")
    length = sum(_most_ms(body, file) for file in form.files)
    exact = [_wave_ms(body, file) for file in form.files]
    known = sum(filter(None, exact)) if exact and None not in exact else None
    demand = Demand(
        text_bytes=form.text_bytes,
        prompt_units=(Unit.INPUT_TOKENS, Unit.AUDIO_INPUT_TOKENS),
        output_units=(Unit.OUTPUT_TOKENS,),
        messages=1,
        window_field="file",
        output_field="file",
        instead=((Unit.AUDIO_SECONDS, length),),
        known=() if known is None else ((Unit.AUDIO_SECONDS, known),),
        media_bytes=sum(file.size for file in form.files),
    )
    stream = str(form.only("stream")).lower() in {"true", "1"}
    return call_of(target, body, {"model": model, "stream": stream}, demand=demand)


def read_speech(target: Target, body: bytes) -> Call | Problem:
    """Understand what is to be spoken."""
    document = named_document(target, body)
    if isinstance(document, Problem):
        return document
    text = document.get("input")
    characters = len(text) if isinstance(text, str) else 0
    demand = Demand(
        text_bytes=len(body),
        prompt_units=(Unit.INPUT_TOKENS,),
        output_units=(Unit.AUDIO_OUTPUT_TOKENS,),
        messages=1,
        output_field="input",
        instead=((Unit.CHARACTERS, characters),),
        known=((Unit.CHARACTERS, characters),),
    )
    stream = document.get("stream_format") == "sse"
    return call_of(target, body, {"model": document["model"], "stream": stream}, demand=demand)


def _most_ms(body: bytes, file: File) -> int:
    """Bound the length of a recording by its bytes, or exactly where it is uncompressed."""
    exact = _wave_ms(body, file)
    return exact if exact is not None else max(1, file.size) * _MS // _BYTES_PER_SECOND_MIN


def _wave_ms(body: bytes, file: File) -> int | None:
    """Read the length of an uncompressed WAV file; None for anything else."""
    start, end = file.start, file.end
    if body[start : start + 4] != _RIFF or body[start + 8 : start + 12] != _WAVE:
        return None
    position, per_second, formats = start + 12, 0, 0
    for _ in range(_CHUNKS_MAX):
        if position + _CHUNK_HEAD > end:
            return None
        kind, size = (
            body[position : position + 4],
            int.from_bytes(body[position + 4 : position + 8], "little"),
        )
        content = position + _CHUNK_HEAD
        if kind == _FMT and size >= _FMT_BYTES:
            fmt = body[content : content + _FMT_BYTES]
            per_second = int.from_bytes(fmt[4:8], "little") * int.from_bytes(fmt[12:14], "little")
            if int.from_bytes(fmt[:2], "little") not in _PLAIN_SAMPLES or not per_second or formats:
                return None
            formats += 1
        elif kind == _DATA:
            # What the header claims may be less than what follows, so all that follows counts.
            return -(-(end - content) * _MS // per_second) if per_second else None
        position = content + size + size % 2
    return None
