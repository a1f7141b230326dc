"""OpenAI's audio: speech from text; transcriptions and translations of uploads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import orjson

from om_proxy.providers.sandbox.body import Body
from om_proxy.providers.sandbox.exchange import Call, Reply
from om_proxy.providers.sandbox.form import read_form
from om_proxy.providers.sandbox.openai.answer import TEXT, body_reply, event_reply, object_reply
from om_proxy.providers.sandbox.openai.refusals import missing, required_model
from om_proxy.providers.sandbox.picture import MP3_FRAME
from om_proxy.providers.sandbox.script import (
    Ask,
    Script,
    count_input,
    count_tokens,
    require_model,
    write_script,
)

# Bytes of a second of the commonest compressed uploads, so that a test's small file has a length of its own.
_BYTES_A_SECOND = 16_000
# What a second of audio counts for.
_TOKENS_A_SECOND = 10
_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_TOKENS_PER_DELTA = 4


def speak(call: Call, body: Body) -> Reply:
    """Answer POST /v1/audio/speech with sound; only as events it comes with usage."""
    text = body.text("input")
    if not text:
        raise missing("input")
    required_model(body)
    frames = [MP3_FRAME] * count_tokens(len(text))
    if body.text("stream_format") == "sse":
        return event_reply(call, _spoken(call, text, sounds=frames))
    kind = _TYPES.get(body.text("response_format") or "mp3", "application/octet-stream")
    return replace(
        body_reply(call, b"".join(frames), ("content-type", kind)), frames=tuple(frames), chunked=True
    )


def transcribe(call: Call) -> Reply:
    """Answer POST /v1/audio/transcriptions."""
    return _transcribed(call, translated=False)


def translate(call: Call) -> Reply:
    """Answer POST /v1/audio/translations, which knows no streams and one priced-by-duration model."""
    return _transcribed(call, translated=True)


def _transcribed(call: Call, *, translated: bool) -> Reply:
    form = read_form(call.incoming)
    model = require_model(form.required("model"), "The model does not exist or you do not have access to it.")
    seconds = call.switches.seconds
    if seconds is None:
        seconds = max(1, -(-len(form.upload("file").content) // _BYTES_A_SECOND))
    prompt = len(form.fields.get("prompt", ""))
    script = write_script(Ask(model, characters=prompt, output_tokens_max=None), call.switches)
    usage = _usage(call, script, seconds=seconds)
    if form.fields.get("stream") == "true" and not translated and not script.model.startswith("whisper"):
        return event_reply(call, _heard(script, usage))
    wanted = form.fields.get("response_format") or "json"
    if wanted == "text":
        return body_reply(call, f"{script.text}\n".encode(), TEXT)
    if wanted in {"srt", "vtt"}:
        return body_reply(call, _subtitles(script.text, seconds, vtt=wanted == "vtt"), TEXT)
    if wanted != "verbose_json":
        return object_reply(call, {"text": script.text, **usage})
    head = {"task": "translate" if translated else "transcribe", "language": "english"}
    heard = {"duration": float(seconds), "text": script.text, "segments": [_segment(script, seconds)]}
    return object_reply(call, {**head, **heard, **usage})


def _usage(call: Call, script: Script, *, seconds: int) -> dict[str, object]:
    if call.switches.usage == "missing":
        return {}
    if script.model.startswith("whisper"):
        return {"usage": {"type": "duration", "seconds": seconds}}
    audio = seconds * _TOKENS_A_SECOND
    # A prompt is optional here: without one there is no text in.
    text = 0 if script.fresh_tokens == 1 else script.fresh_tokens
    return {
        "usage": {
            "type": "tokens",
            "input_tokens": audio + text,
            "input_token_details": {"audio_tokens": audio, "text_tokens": text},
            "output_tokens": script.text_tokens,
            "total_tokens": audio + text + script.text_tokens,
        }
    }


def _heard(script: Script, usage: dict[str, object]) -> Iterator[bytes]:
    for part in script.parts(_TOKENS_PER_DELTA):
        yield _frame({"type": "transcript.text.delta", "delta": part})
    yield _frame({"type": "transcript.text.done", "text": script.text, **usage})


def _spoken(call: Call, text: str, *, sounds: list[bytes]) -> Iterator[bytes]:
    # One sound in base64 is enough for each.
    for _ in sounds:
        yield _frame({"type": "speech.audio.delta", "audio": "//uQAA=="})
    done: dict[str, object] = {"type": "speech.audio.done"}
    if call.switches.usage != "missing":
        heard, spoken = count_input(len(text), call.switches), len(sounds) * _TOKENS_A_SECOND
        done["usage"] = {"input_tokens": heard, "output_tokens": spoken, "total_tokens": heard + spoken}
    yield _frame(done)


def _segment(script: Script, seconds: int) -> dict[str, object]:
    return {
        "id": 0,
        "seek": 0,
        "start": 0.0,
        "end": float(seconds),
        "text": script.text,
        "tokens": [50_364],
        "temperature": 0.0,
        "avg_logprob": -0.25,
        "compression_ratio": 1.1,
        "no_speech_prob": 0.01,
    }


def _subtitles(text: str, seconds: int, *, vtt: bool) -> bytes:
    minutes, rest = divmod(seconds, 60)
    if vtt:
        return f"WEBVTT\n\n00:00.000 --> {minutes:02}:{rest:02}.000\n{text}\n\n".encode()
    hours, minutes = divmod(minutes, 60)
    return f"1\n00:00:00,000 --> {hours:02}:{minutes:02}:{rest:02},000\n{text}\n\n".encode()


def _frame(payload: dict[str, object]) -> bytes:
    return b"event: " + str(payload["type"]).encode() + b"\ndata: " + orjson.dumps(payload) + b"\n\n"
