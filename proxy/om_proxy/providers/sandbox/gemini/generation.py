"""Gemini's generateContent and streamGenerateContent, and the counting of its tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import orjson

from om_proxy.providers.sandbox.body import Body, all_text, count_characters, first_tool
from om_proxy.providers.sandbox.exchange import Call, Problem, Refused, Stamp
from om_proxy.providers.sandbox.frame import array_frames, gemini_frame, pretty_json
from om_proxy.providers.sandbox.gemini.cache import cached_tokens
from om_proxy.providers.sandbox.gemini.names import camel_case, existing
from om_proxy.providers.sandbox.script import (
    THOUGHT,
    Ask,
    Form,
    Script,
    count_input,
    write_script,
)
from om_proxy.providers.sandbox.switch import Switches

_TOKENS_PER_FRAME = 4
# With usage=unsteady the candidates count starts again after so many frames, and the prompt grows meanwhile.
_FRAMES_PER_TURN = 2
_UNSTEADY_PROMPT_TOKENS = 137
_CANDIDATES_MAX = 8


@dataclass(frozen=True, slots=True)
class Generation:
    """A generated content that is decided and only has to be written down."""

    script: Script
    switches: Switches
    tier: str
    cached: int
    thoughts_shown: bool


def decide(call: Call, model: str, body: Body) -> Generation:
    """Read the request and decide the answer; raises Refused for what Gemini refuses."""
    switches = call.switches
    body = camel_case(body)
    settings = camel_case(body.section("generationConfig"))
    candidates = settings.integer("candidateCount")
    if candidates is not None and not 1 <= candidates <= _CANDIDATES_MAX:
        raise Refused(Problem(400, f"Only one to {_CANDIDATES_MAX} candidates can be specified"))
    ask = Ask(
        model=existing(model),
        characters=_characters(body),
        output_tokens_max=settings.integer("maxOutputTokens"),
        choices=candidates or 1,
        tool=first_tool(body),
        text=all_text(body.value("contents")) if switches.echo else "",
    )
    named_cache = body.text("cachedContent")
    thinking = camel_case(settings.section("thinkingConfig"))
    return Generation(
        script=write_script(ask, switches),
        switches=switches,
        tier=switches.tier or body.text("serviceTier") or "standard",
        cached=switches.cached + (cached_tokens(call, named_cache) if named_cache else 0),
        thoughts_shown=thinking.flag("includeThoughts") and not switches.silent,
    )


def count_body(model: str, body: Body, *, switches: Switches) -> bytes:
    """Answer countTokens with what a generation would report as its prompt."""
    existing(model)
    body = camel_case(body)
    if body.value("contents") is None:
        body = camel_case(body.section("generateContentRequest"))
    total = count_input(_characters(body), switches) + switches.cached
    payload: dict[str, object] = {"totalTokens": total, "promptTokensDetails": _text_tokens(total)}
    if switches.cached:
        payload["cachedContentTokenCount"] = switches.cached
    return pretty_json(payload)


def generation_body(generation: Generation, stamp: Stamp) -> bytes:
    """Write the plain answer: one response object with everything."""
    counts = _Counts.final(generation)
    return pretty_json(_response(generation, _Part(generation.script.text, counts, last=True), stamp=stamp))


def generation_frames(generation: Generation, stamp: Stamp, *, sse: bool) -> tuple[bytes, ...]:
    """Write the streamed answer: response objects whose usage is cumulative and final in the last one."""
    payloads = [_response(generation, part, stamp=stamp) for part in _parts(generation)]
    if sse:
        return tuple(gemini_frame(payload) for payload in payloads)
    return array_frames(payloads)


@dataclass(frozen=True, slots=True)
class _Counts:
    """The numbers of one usageMetadata."""

    prompt: int
    candidates: int
    thoughts: int
    cached: int

    @classmethod
    def final(cls, generation: Generation) -> _Counts:
        """Count as Gemini does: the prompt includes cached tokens, candidates exclude thoughts."""
        script = generation.script
        blocked = script.form is Form.REFUSAL
        return cls(
            prompt=script.fresh_tokens + generation.cached,
            candidates=0 if blocked else script.text_tokens,
            thoughts=0 if blocked else script.reasoning_tokens,
            cached=generation.cached,
        )

    def metadata(self, tier: str) -> dict[str, object]:
        """Write them down; a zero is left out, as Gemini does."""
        metadata: dict[str, object] = {
            "promptTokenCount": self.prompt,
            "candidatesTokenCount": self.candidates,
            "totalTokenCount": self.prompt + self.candidates + self.thoughts,
            "cachedContentTokenCount": self.cached,
            "promptTokensDetails": _text_tokens(self.prompt),
            "cacheTokensDetails": _text_tokens(self.cached),
            "thoughtsTokenCount": self.thoughts,
            "serviceTier": tier,
        }
        return {name: value for name, value in metadata.items() if value}


@dataclass(frozen=True, slots=True)
class _Part:
    """One response object of an answer: its text, what it reports, and whether it ends the answer."""

    text: str
    counts: _Counts
    last: bool
    first: bool = True


def _parts(generation: Generation) -> Iterator[_Part]:
    if generation.script.form is not Form.TEXT:
        # A call comes whole, and a blocked prompt has no parts.
        yield _Part(generation.script.text, _Counts.final(generation), last=True)
        return
    *texts, last_text = generation.script.parts(_TOKENS_PER_FRAME) or ("",)
    if generation.switches.usage == "dropped":
        # The count that the last object loses was complete in the one before it.
        texts, last_text = [*texts, last_text], ""
    for written, text in enumerate(texts, start=1):
        yield _Part(text, _counts_on_the_way(generation, written), last=False, first=written == 1)
    counts = _Counts.final(generation)
    if generation.switches.usage == "dropped":
        counts = replace(counts, candidates=0)
    yield _Part(last_text, counts, last=True, first=not texts)


def _counts_on_the_way(generation: Generation, written: int) -> _Counts:
    """Count after so many response objects, each but the last with the same number of tokens."""
    final = _Counts.final(generation)
    tokens_so_far = written * _TOKENS_PER_FRAME * generation.script.choices
    if generation.switches.usage != "unsteady":
        return replace(final, candidates=min(tokens_so_far, final.candidates))
    turns, objects = divmod(written - 1, _FRAMES_PER_TURN)
    ends_turn = objects == _FRAMES_PER_TURN - 1
    tokens_before = turns * _FRAMES_PER_TURN * _TOKENS_PER_FRAME * generation.script.choices
    return replace(
        final,
        prompt=final.prompt + (_UNSTEADY_PROMPT_TOKENS if ends_turn else 0),
        candidates=tokens_so_far - tokens_before,
    )


def _response(generation: Generation, part: _Part, *, stamp: Stamp) -> dict[str, object]:
    script = generation.script
    if script.form is Form.REFUSAL:
        payload: dict[str, object] = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
    else:
        candidate = _candidate(generation, part, stamp)
        payload = {"candidates": [candidate | {"index": index} for index in range(script.choices)]}
    if generation.switches.usage != "missing":
        payload["usageMetadata"] = part.counts.metadata(generation.tier)
    return payload | {"modelVersion": script.model, "responseId": stamp.token}


def _candidate(generation: Generation, part: _Part, stamp: Stamp) -> dict[str, object]:
    script = generation.script
    parts: list[dict[str, object]] = []
    if generation.thoughts_shown and script.reasoning_tokens and part.first:
        parts.append({"text": THOUGHT, "thought": True})
    if script.form is Form.TOOL_CALL:
        arguments = {} if script.cut else orjson.loads(script.text)
        call = {"id": f"call_{stamp.token}", "name": script.tool, "args": arguments}
        parts.append({"functionCall": call})
    elif part.text:
        parts.append({"text": part.text})
    content: dict[str, object] = {"parts": parts} if parts else {}
    candidate: dict[str, object] = {"content": content | {"role": "model"}}
    if part.last:
        candidate["finishReason"] = "MAX_TOKENS" if script.cut else "STOP"
        if generation.switches.web_searches:
            queries = [f"simulated query {number + 1}" for number in range(generation.switches.web_searches)]
            candidate["groundingMetadata"] = {"webSearchQueries": queries, "groundingChunks": []}
    return candidate


def _characters(body: Body) -> int:
    contents = body.items("contents")
    if contents is None:
        raise Refused(Problem(400, "* GenerateContentRequest.contents: contents is not specified\n"))
    return count_characters(contents) + count_characters(body.value("systemInstruction"))


def _text_tokens(count: int) -> list[dict[str, object]]:
    return [{"modality": "TEXT", "tokenCount": count}] if count else []
