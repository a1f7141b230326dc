"""Imagen and Veo: images by piece, and video by the second, which is charged when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from om_proxy.call.call import NOTHING, Call
from om_proxy.call.route import Target
from om_proxy.call.unmetered import passed_call
from om_proxy.metering.reading import EndedJob, Fields, Flag, Line, Metered, parse_object, raw_usage_of
from om_proxy.metering.usage import Certainty, Unit, Usage, usage_of
from om_proxy.providers.gemini.request import first, model_of, number
from om_proxy.providers.gemini.usage import objects_of
from om_proxy.refusals.problem import invalid_field, invalid_json
from om_proxy.refusals.refusal import Problem

#: What is made of one instance where the request does not say.
IMAGES_DEFAULT = 4
VIDEOS_DEFAULT = 1
SECONDS_DEFAULT = 8
#: The most that is made of one instance, for the bound of a request that does not say.
VIDEOS_MAX = 4

_MS = 1_000
_PIECES_MAX = 1_000
_SECONDS_MAX = 3_600
_PIXELS = ("bytesBase64Encoded", "gcsUri", "b64_json", "url")


def read_images(target: Target, body: bytes) -> Call | Problem:
    """Understand a request for images: as many as it asks for, of each of its instances."""
    document = parse_object(body)
    if document is None:
        return invalid_json()
    parameters = _parameters(document)
    samples = _up_to(first(parameters, "sampleCount"), IMAGES_DEFAULT, most=_PIECES_MAX)
    if samples is None:
        return invalid_field("parameters.sampleCount")
    return image_call(target, body, model=model_of(target), images=samples * _instances(document))


def image_call(target: Target, body: bytes, *, model: str, images: int) -> Call:
    """Bound a call by the images that it asks for."""
    demand = replace(NOTHING, instead=((Unit.IMAGES, images),))
    return replace(passed_call(target, body), billable=True, model=model, demand=demand)


def read_video(target: Target, body: bytes) -> Call | Problem:
    """Understand a request for videos: so many, of so many seconds each."""
    document = parse_object(body)
    if document is None:
        return invalid_json()
    parameters = _parameters(document)
    seconds = _up_to(first(parameters, "durationSeconds"), SECONDS_DEFAULT, most=_SECONDS_MAX)
    samples = _up_to(first(parameters, "sampleCount"), VIDEOS_MAX, most=_PIECES_MAX)
    if seconds is None or samples is None:
        return invalid_field(f"parameters.{'durationSeconds' if seconds is None else 'sampleCount'}")
    most = samples * seconds * _MS * _instances(document)
    said = first(parameters, "sampleCount") is not None
    resolution = Fields(parameters, set()).text("resolution")
    demand = replace(
        NOTHING,
        instead=((Unit.VIDEO_SECONDS, most),),
        known=((Unit.VIDEO_SECONDS, most),) if said else (),
    )
    return replace(
        passed_call(target, body),
        billable=True,
        model=model_of(target),
        demand=demand,
        attributes=() if resolution is None else (("resolution", resolution),),
    )


class ImagesReader:
    """Counts the images that came back: one that was filtered has no pixels, and is not charged."""

    visible_bytes = 0

    def __init__(self, call: Call, pieces: str) -> None:
        """`pieces` is the list that they are in."""
        self._call = call
        self._pieces = pieces
        self._answer: Mapping[str, object] | None = None

    def read(self, document: bytes) -> None:
        """Parse the body."""
        self._answer = parse_object(document)

    def metered(self) -> Metered:
        """Say what was read. Of an answer that nobody can read, all that was asked for is assumed."""
        answer = self._answer
        if answer is None:
            asked = usage_of(dict(self._call.demand.instead), Certainty.ESTIMATED)
            flags = frozenset({Flag.USAGE_MISSING, Flag.DOCUMENT_MALFORMED})
            return Metered((_line(self._call, asked),), flags=flags)
        if isinstance(answer.get("error"), dict):
            return Metered((), flags=frozenset({Flag.ERROR_IN_ANSWER}))
        images = sum(
            any(isinstance(piece.get(name), str) for name in _PIXELS)
            for piece in objects_of(answer.get(self._pieces))
        )
        if not images:
            return Metered(())
        return Metered((_line(self._call, usage_of({Unit.IMAGES: images})),))


class VideoReader:
    """Reads an operation: what begins one is deferred, and whoever sees it done reports its end."""

    visible_bytes = 0

    def __init__(self, call: Call, *, begins: bool) -> None:
        self._call = call
        self._begins = begins
        self._operation: Mapping[str, object] = {}
        self._malformed = False

    def read(self, document: bytes) -> None:
        """Parse the operation."""
        operation = parse_object(document)
        self._malformed = operation is None
        self._operation = operation or {}

    def metered(self) -> Metered:
        """Say what was read. An operation without a name is charged at once: nobody could ask for its end."""
        flags = frozenset({Flag.DOCUMENT_MALFORMED} if self._malformed else ())
        name = Fields(self._operation, set()).text("name")
        if not self._begins:
            # The answer's own name for it, which is that of the call; the path's where it has none.
            return Metered((), flags=flags, ended=self._end(name or self._call.resource))
        known = self._call.demand.known if name is not None else ()
        usage = usage_of(dict(known)) if known else usage_of(self._assumed(), Certainty.ESTIMATED)
        line = _line(self._call, usage)
        ended = self._end(name) if name is not None else ()
        return Metered((line,), None, name, flags, job_id=name, ended=ended)

    def _assumed(self) -> dict[Unit, int | None]:
        known = self._call.demand.known
        most = dict(self._call.demand.instead)[Unit.VIDEO_SECONDS]
        return {Unit.VIDEO_SECONDS: most if known else most * VIDEOS_DEFAULT // VIDEOS_MAX}

    def _end(self, name: str) -> tuple[EndedJob, ...]:
        if self._operation.get("done") is not True:
            return ()
        response = self._operation.get("response")
        if not isinstance(response, dict) or not _made_videos(response):
            return (EndedJob(name, ()),)
        # How long they are was said in the request alone: the call that began it knows.
        unknown = usage_of({Unit.VIDEO_SECONDS: None})
        return (EndedJob(name, (_line(self._call, unknown),), raw_usage_of({"done": True})),)


def _made_videos(response: Mapping[str, object]) -> bool:
    """Whether an operation that is done has anything to charge: all of its videos may have been filtered."""
    inner = response.get("generateVideoResponse", response)
    if not isinstance(inner, dict):
        return True
    made = first(inner, "generatedSamples"), inner.get("videos"), inner.get("generatedVideos")
    if any(isinstance(videos, list) and videos for videos in made):
        return True
    # A form that is not known is not taken for a failure.
    return first(inner, "raiMediaFilteredCount") is None


def _line(call: Call, usage: Usage) -> Line:
    return Line(call.provider, call.model, call.model, "standard", usage, call.attributes)


def _parameters(document: Mapping[str, object]) -> Mapping[str, object]:
    parameters = document.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _instances(document: Mapping[str, object]) -> int:
    instances = document.get("instances")
    return max(1, len(instances)) if isinstance(instances, list) else 1


def _up_to(value: object, default: int, *, most: int) -> int | None:
    """Read a small number; None for one that would make the bound meaningless."""
    if value is None:
        return default
    count = number(value)
    return count if count is not None and 0 < count <= most else None
