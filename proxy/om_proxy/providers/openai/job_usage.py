"""How deferred work ends: videos by second and size, batches by the tokens of all their lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from om_proxy.call.call import Call
from om_proxy.metering.reading import EndedJob, Fields, Flag, Line, Metered, parse_object, raw_usage_of
from om_proxy.metering.usage import Unit, usage_of
from om_proxy.providers.openai.usage import chat_counts, job_id_of, line_of

JobObject = dict[str, object]
#: Reads an object of a kind of job; None while the work goes on.
EndOf = Callable[[Call, JobObject], EndedJob | None]

_MS = 1_000
_SECONDS_MAX = 86_400
_BATCH_ENDS = frozenset({"completed", "expired", "cancelled", "failed"})


class JobReader:
    """Reads the object of a job: a call that began it is deferred, and whoever sees its end reports that."""

    visible_bytes = 0

    def __init__(self, call: Call, end_of: EndOf, *, begins: bool) -> None:
        self._call = call
        self._end_of = end_of
        self._begins = begins
        self._job: JobObject = {}
        self._flags: set[Flag] = set()

    def read(self, document: bytes) -> None:
        """Parse the object."""
        job = parse_object(document)
        if job is None:
            self._flags.add(Flag.DOCUMENT_MALFORMED)
        else:
            self._job = job

    def metered(self) -> Metered:
        """Say what was read. An answer without a job cannot be charged, and says so."""
        fields = Fields(self._job, self._flags)
        job_id = job_id_of(fields)
        ended = self._end_of(self._call, self._job) if job_id is not None else None
        jobs = () if ended is None else (ended,)
        if not self._begins:
            return Metered((), flags=frozenset(self._flags), ended=jobs)
        line = line_of(self._call, usage_of({}), model=fields.text("model"))
        if job_id is None:
            unknown = usage_of({Unit.INPUT_TOKENS: None, Unit.OUTPUT_TOKENS: None})
            return Metered((replace(line, usage=unknown),), flags=frozenset(self._flags))
        return Metered((line,), None, job_id, frozenset(self._flags), job_id=job_id, ended=jobs)


def ended_video(call: Call, video: JobObject) -> EndedJob | None:
    """Read the end of a video: its length and size. One that failed costs nothing."""
    fields = Fields(video, set())
    job_id, status = job_id_of(fields), video.get("status")
    if job_id is None or status not in {"completed", "failed"}:
        return None
    if status == "failed":
        return EndedJob(job_id, ())
    length = _video_ms(video.get("seconds"))
    asked = dict(call.demand.instead).get(Unit.VIDEO_SECONDS)
    usage = usage_of({Unit.VIDEO_SECONDS: asked if length is None else length})
    size = fields.text("size")
    line = line_of(call, usage, model=fields.text("model"))
    attributes = (("size", size),) if size is not None else call.attributes
    said: dict[str, object] = {name: video[name] for name in ("seconds", "size", "model") if name in video}
    return EndedJob(job_id, (replace(line, attributes=attributes),), raw_usage_of(said))


def ended_batch(call: Call, batch: JobObject) -> EndedJob | None:
    """Read the end of a batch. What was done of one that was cancelled or expired is charged too."""
    fields = Fields(batch, set())
    job_id = job_id_of(fields)
    if job_id is None or batch.get("status") not in _BATCH_ENDS:
        return None
    usage = batch.get("usage")
    if not isinstance(usage, dict):
        if not fields.section("request_counts").count("completed"):
            return EndedJob(job_id, ())
        unknown = usage_of({Unit.INPUT_TOKENS: None, Unit.OUTPUT_TOKENS: None})
        return EndedJob(job_id, (_batch_line(call, fields, line_of(call, unknown, model=None)),))
    line = line_of(call, usage_of(chat_counts(usage, set())), model=None)
    return EndedJob(job_id, (_batch_line(call, fields, line),), raw_usage_of(usage))


def _batch_line(call: Call, fields: Fields, line: Line) -> Line:
    model = fields.text("model") or call.model or "unknown"
    return replace(line, model=model, requested_model=model, tier="batch")


def _video_ms(value: object) -> int | None:
    """Read the seconds of a video, which are a text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < len(str(_SECONDS_MAX)):
        value = int(value)
    if type(value) is not int or not 0 <= value <= _SECONDS_MAX:
        return None
    return value * _MS
