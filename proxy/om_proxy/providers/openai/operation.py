"""What can be asked for in OpenAI's dialect: how each request is bounded, and how each answer is read.

The words are those of the route table; a compatible provider takes those operations that it offers.
"""

from __future__ import annotations

from collections.abc import Callable

from om_proxy.call.call import Call
from om_proxy.call.provider import UsageReader
from om_proxy.call.route import Target
from om_proxy.call.unmetered import NoUsage, passed_call
from om_proxy.metering.framing import BODY_MAX, Framing, NoDocuments, SlimBody, WholeBody
from om_proxy.metering.sse import FRAME_MAX, SseParser
from om_proxy.providers.openai.audio_request import read_speech, read_transcription
from om_proxy.providers.openai.audio_usage import SpeechReader, TranscriptionReader
from om_proxy.providers.openai.convention import OPENAI, Convention
from om_proxy.providers.openai.image_request import read_images
from om_proxy.providers.openai.image_usage import ImagesReader
from om_proxy.providers.openai.job_request import read_batch, read_video
from om_proxy.providers.openai.job_usage import JobReader, ended_batch, ended_video
from om_proxy.providers.openai.request import read_chat
from om_proxy.providers.openai.responses_request import read_responses
from om_proxy.providers.openai.responses_usage import ResponseJobReader, ResponsesReader
from om_proxy.providers.openai.text_request import read_completion, read_embeddings
from om_proxy.providers.openai.usage import ChatReader, EmbeddingsReader
from om_proxy.refusals.refusal import Problem
from om_proxy.value import value_type

#: An event that repeats a whole response can hold several images.
_EVENT_MAX = 4 * BODY_MAX


@value_type(frozen=True, slots=True)
class Sent:
    """A request's body as it came, and what its provider takes."""

    body: bytes
    content_type: str
    ask: bool  # Whether the provider takes `stream_options`.


BOUNDS: dict[str, Callable[[Target, Sent], Call | Problem]] = {
    "text, output cap, n": lambda target, sent: read_chat(target, sent.body, ask=sent.ask),
    "text, output cap, n, best_of": lambda target, sent: read_completion(target, sent.body, ask=sent.ask),
    "text, output cap, tool calls": lambda target, sent: read_responses(target, sent.body),
    "text": lambda target, sent: read_embeddings(target, sent.body),
    "images, n, size": lambda target, sent: read_images(target, sent.body, content_type=sent.content_type),
    "recording": lambda target, sent: read_transcription(target, sent.body, content_type=sent.content_type),
    "characters": lambda target, sent: read_speech(target, sent.body),
    "seconds": lambda target, sent: read_video(target, sent.body, content_type=sent.content_type),
    "none": lambda target, sent: read_batch(target, sent.body),
    "": lambda target, sent: passed_call(target, sent.body),
}


_READERS: dict[str, Callable[[Call, Convention], UsageReader]] = {
    "last usage": ChatReader,
    "usage": EmbeddingsReader,
    "terminal response": ResponsesReader,
    "end of a background response": ResponseJobReader,
    "image usage, else pieces": lambda call, _: ImagesReader(call),
    "audio usage, else seconds": lambda call, _: TranscriptionReader(call),
    "speech usage, else characters": lambda call, _: SpeechReader(call),
    "video job": lambda call, _: JobReader(call, ended_video, begins=True),
    "end of a video": lambda call, _: JobReader(call, ended_video, begins=False),
    "batch job": lambda call, _: JobReader(call, ended_batch, begins=True),
    "end of a batch": lambda call, _: JobReader(call, ended_batch, begins=False),
    "": lambda *_: NoUsage(),
}
USAGES = frozenset(_READERS)
#: Bodies that are mostly images or vectors.
_BULKY = frozenset({"usage", "image usage, else pieces", "terminal response", "end of a background response"})
#: Bodies that are nothing else: a file of any size passes unread.
_OPAQUE = frozenset({""})


def reader_of(call: Call, convention: Convention = OPENAI) -> UsageReader:
    """Open the reader of a call's answer."""
    return _READERS[call.usage](call, convention)


def framing_of(call: Call, content_type: str) -> Framing:
    """Tell events, a plain body, and what no meter reads."""
    if call.usage in _OPAQUE:
        return NoDocuments()
    if content_type.startswith("text/event-stream"):
        return SseParser(FRAME_MAX if call.usage == "last usage" else _EVENT_MAX)
    if call.usage in _BULKY:
        return SlimBody()
    return NoDocuments() if call.usage.startswith("speech") and "json" not in content_type else WholeBody()
