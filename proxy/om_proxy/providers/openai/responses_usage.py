"""How the Responses API reports usage: once, in the terminal object, with server tools apart from tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from om_proxy.call.call import Call
from om_proxy.metering.reading import EndedJob, Fields, Flag, Line, Metered, parse_object, raw_usage_of
from om_proxy.metering.usage import Certainty, Unit, usage_of
from om_proxy.providers.openai.convention import OPENAI, Convention
from om_proxy.providers.openai.image_usage import image_counts
from om_proxy.providers.openai.usage import chat_counts, job_id_of, line_of

Counts = dict[Unit, int | None]

_DELTA = re.compile(rb'"delta"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
#: Events that hold the whole response. Quotes inside of JSON strings are escaped: no text looks like one.
_WHOLE = re.compile(
    rb'"type"\s*:\s*"(?:response\.(?:created|queued|completed|incomplete|failed|cancelled)|error)"|"error"\s*:\s*\{'
)
_TERMINAL = frozenset({"completed", "incomplete", "failed", "cancelled"})
_TOOL_KEYS = frozenset({"web_search", "image_gen"})
#: Where neither the request nor the answer names the model that draws.
_IMAGE_MODEL = "gpt-image-1"


class ResponsesReader:
    """Reads the answer of a call: a response object, or the events that lead to one."""

    def __init__(self, call: Call, convention: Convention = OPENAI) -> None:
        self.visible_bytes = 0
        self._call = call
        # Here every provider counts as OpenAI does.
        self._convention = replace(convention, reasoning_outside=False)
        self._response: dict[str, object] = {}
        self._flags: set[Flag] = set()

    def read(self, document: bytes) -> None:
        """Parse an event only if it holds the response; the rest is measured by its text."""
        if not self._call.stream or not self._response or _WHOLE.search(document):
            self._parse(document)
        if not self._ended:
            self.visible_bytes += sum(map(len, _DELTA.findall(document)))

    def metered(self) -> Metered:
        """Say what was read until now. A background response is deferred even if its end was seen."""
        flags = set(self._flags)
        response = Fields(self._response, flags)
        answer_id = response.text("id")
        job_id = job_id_of(response)
        if job_id is not None and self._response.get("background") is True:
            ended = ended_response(self._call, self._response, flags, convention=self._convention)
            line = line_of(self._call, usage_of({}), model=response.text("model"))
            jobs = () if ended is None else (ended,)
            return Metered((line,), None, answer_id, frozenset(flags), job_id=job_id, ended=jobs)
        if self._failed_early:
            return Metered((), response_id=answer_id, flags=frozenset(flags))
        if not self._ended:
            flags.add(Flag.INCOMPLETE)
        lines = response_lines(self._call, self._response, flags, convention=self._convention)
        return Metered(lines, _raw(self._response), answer_id, frozenset(flags))

    @property
    def _ended(self) -> bool:
        # A compaction has no status, and is never partial.
        status = self._response.get("status")
        return status in _TERMINAL or (bool(self._response) and status is None)

    @property
    def _failed_early(self) -> bool:
        """Whether an error came before anything was produced."""
        failed = self._response.get("status") == "failed" or Flag.ERROR_IN_ANSWER in self._flags
        return failed and not isinstance(self._response.get("usage"), dict) and not self.visible_bytes

    def _parse(self, document: bytes) -> None:
        event = parse_object(document)
        if event is None:
            if document != b"[DONE]":
                self._flags.add(Flag.DOCUMENT_MALFORMED)
            return
        response = event.get("response", event if "object" in event else None)
        if isinstance(response, dict):
            self._response.update(response)
        if event.get("type") == "error" or isinstance(event.get("error"), dict):
            self._flags.add(Flag.ERROR_IN_ANSWER)
        if self._response.get("status") == "failed":
            self._flags.add(Flag.ERROR_IN_ANSWER)


class ResponseJobReader:
    """Reads a response that is fetched, polled or resumed: its call charged it, unless it was deferred."""

    visible_bytes = 0

    def __init__(self, call: Call, convention: Convention = OPENAI) -> None:
        self._call = call
        self._convention = replace(convention, reasoning_outside=False)
        self._ended: EndedJob | None = None
        self._flags: set[Flag] = set()

    def read(self, document: bytes) -> None:
        """Look for the end of background work."""
        event = parse_object(document) if b'"background"' in document else None
        if event is None:
            return
        response = event.get("response", event)
        if isinstance(response, dict) and response.get("background") is True:
            ended = ended_response(self._call, response, self._flags, convention=self._convention)
            self._ended = ended or self._ended

    def metered(self) -> Metered:
        """Say which job has ended, if one has."""
        ended = () if self._ended is None else (self._ended,)
        return Metered((), flags=frozenset(self._flags), ended=ended)


def ended_response(
    call: Call, response: Mapping[str, object], flags: set[Flag], *, convention: Convention = OPENAI
) -> EndedJob | None:
    """Read the end of background work; None while it goes on."""
    fields = Fields(response, flags)
    job_id, status = job_id_of(fields), response.get("status")
    if job_id is None or status not in _TERMINAL:
        return None
    if not isinstance(response.get("usage"), dict) and (status == "failed" or not _has_output(response)):
        return EndedJob(job_id, ())
    lines = response_lines(call, response, flags, convention=convention)
    return EndedJob(job_id, lines, _raw(response))


def response_lines(
    call: Call, response: Mapping[str, object], flags: set[Flag], *, convention: Convention = OPENAI
) -> tuple[Line, ...]:
    """Read what a response consumed: tokens and fees at its model, images at the one that drew them."""
    faults: set[Flag] = set()
    fields = Fields(response, faults)
    usage = response.get("usage")
    counts: Counts = {Unit.INPUT_TOKENS: None, Unit.OUTPUT_TOKENS: None}
    if isinstance(usage, dict):
        counts = chat_counts(usage, faults, convention)
    estimated = _fees(counts, response, fields)
    certainty = Certainty.ESTIMATED if Flag.USAGE_MALFORMED in faults else Certainty.MEASURED
    own = usage_of(counts, certainty, estimated=estimated)
    tier = fields.text("service_tier") if response.get("status") in _TERMINAL else None
    lines = [line_of(call, own, model=fields.text("model"), tier=tier)]
    drawn = fields.section("tool_usage").section("image_gen")
    if drawn.count("input_tokens") or drawn.count("output_tokens"):
        model = _image_model(call, response)
        usage_of_images = usage_of(image_counts(drawn), certainty)
        lines.append(Line(call.provider, model, model, lines[0].tier, usage_of_images))
    flags |= faults
    return tuple(lines)


def _fees(counts: Counts, response: Mapping[str, object], fields: Fields) -> tuple[Unit, ...]:
    """Count server tools that have a fee; give those that are not the provider's own figure."""
    output = response.get("output")
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    tools = fields.section("tool_usage")
    tools.check_keys(_TOOL_KEYS)
    searches = tools.section("web_search").count("num_requests")
    counts[Unit.WEB_SEARCHES] = sum(map(_is_search, items)) if searches is None else searches
    counts[Unit.FILE_SEARCHES] = sum(item.get("type") == "file_search_call" for item in items)
    containers = {item.get("container_id") for item in items if item.get("type") == "code_interpreter_call"}
    counts[Unit.CODE_EXECUTIONS] = len(containers)
    return (Unit.WEB_SEARCHES,) if searches is None else ()


def _is_search(item: Mapping[str, object]) -> bool:
    """Whether an item is a search that is charged: opening a page and finding in one are not."""
    action = item.get("action")
    kind = action.get("type") if isinstance(action, dict) else None
    return item.get("type") == "web_search_call" and kind == "search"


def _image_model(call: Call, response: Mapping[str, object]) -> str:
    tools = response.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and tool.get("type") == "image_generation":
            named = Fields(tool, set()).text("model")
            if named is not None:
                return named
    return dict(call.tool_models).get("image_generation", _IMAGE_MODEL)


def _has_output(response: Mapping[str, object]) -> bool:
    return bool(response.get("output"))


def _raw(response: Mapping[str, object]) -> bytes | None:
    said = {name: response[name] for name in ("usage", "tool_usage") if isinstance(response.get(name), dict)}
    return raw_usage_of(said) if said else None
