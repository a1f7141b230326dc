"""Gemini's generateContent and streamGenerateContent, and the counting of its tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from om_proxy.providers.sandbox.body import Body, count_characters
from om_proxy.providers.sandbox.exchange import Problem, Refused, Stamp
from om_proxy.providers.sandbox.frame import array_frames, gemini_frame, pretty_json
from om_proxy.providers.sandbox.script import (
    Ask,
    Script,
    count_input,
    require_model,
    write_script,
)
from om_proxy.providers.sandbox.switch import Switches

_TOKENS_PER_FRAME = 4
# With usage=unsteady the candidates count starts again after so many frames, and the prompt grows meanwhile.
_FRAMES_PER_TURN = 2
_UNSTEADY_PROMPT_TOKENS = 137
_CANDIDATES_MAX = 8
_UNDERSCORE = re.compile(r"_([a-z])")


@dataclass(frozen=True, slots=True)
class Generation:
    """A generated content that is decided and only has to be written down."""

    script: Script
    switches: Switches
    tier: str


def decide(model: str, body: Body, *, switches: Switches) -> Generation:
    """Read the request and decide the answer; raises Refused for what Gemini refuses."""
    body = _camel_case(body)
    settings = _camel_case(body.section("generationConfig"))
    candidates = settings.integer("candidateCount")
    if candidates is not None and not 1 <= candidates <= _CANDIDATES_MAX:
        raise Refused(Problem(400, f"Only one to {_CANDIDATES_MAX} candidates can be specified"))
    ask = Ask(
        model=_existing(model),
        characters=_characters(body),
        output_tokens_max=settings.integer("maxOutputTokens"),
        choices=candidates or 1,
    )
    return Generation(
        script=write_script(ask, switches),
        switches=switches,
        tier=switches.tier or body.text("serviceTier") or "standard",
    )


def count_body(model: str, body: Body, *, switches: Switches) -> bytes:
    """Answer countTokens with what a generation would report as its prompt."""
    _existing(model)
    body = _camel_case(body)
    if body.value("contents") is None:
        body = _camel_case(body.section("generateContentRequest"))
    total = count_input(_characters(body), switches) + switches.cached
    payload: dict[str, object] = {"totalTokens": total, "promptTokensDetails": _text_tokens(total)}
    if switches.cached:
        payload["cachedContentTokenCount"] = switches.cached
    return pretty_json(payload)


def generation_body(generation: Generation, stamp: Stamp) -> bytes:
    """Write the plain answer: one response object with everything."""
    counts = _Counts.final(generation.script, generation.switches)
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
    def final(cls, script: Script, switches: Switches) -> _Counts:
        """Count as Gemini does: the prompt includes cached tokens, candidates exclude thoughts."""
        return cls(
            prompt=script.fresh_tokens + switches.cached,
            candidates=script.text_tokens,
            thoughts=script.reasoning_tokens,
            cached=switches.cached,
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


def _parts(generation: Generation) -> Iterator[_Part]:
    *texts, last_text = generation.script.parts(_TOKENS_PER_FRAME) or ("",)
    if generation.switches.usage == "dropped":
        # The count that the last object loses was complete in the one before it.
        texts, last_text = [*texts, last_text], ""
    for written, text in enumerate(texts, start=1):
        yield _Part(text, _counts_on_the_way(generation, written), last=False)
    counts = _Counts.final(generation.script, generation.switches)
    if generation.switches.usage == "dropped":
        counts = replace(counts, candidates=0)
    yield _Part(last_text, counts, last=True)


def _counts_on_the_way(generation: Generation, written: int) -> _Counts:
    """Count after so many response objects, each but the last with the same number of tokens."""
    final = _Counts.final(generation.script, generation.switches)
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
    content: dict[str, object] = {"parts": [{"text": part.text}]} if part.text else {}
    ending = {"finishReason": "MAX_TOKENS" if script.cut else "STOP"} if part.last else {}
    payload: dict[str, object] = {
        "candidates": [
            {"content": content | {"role": "model"}, **ending, "index": index}
            for index in range(script.choices)
        ]
    }
    if generation.switches.usage != "missing":
        payload["usageMetadata"] = part.counts.metadata(generation.tier)
    return payload | {"modelVersion": script.model, "responseId": stamp.token}


def _camel_case(body: Body) -> Body:
    """Accept `system_instruction` for `systemInstruction`, as Google's JSON does for every field."""
    return Body(
        {_UNDERSCORE.sub(lambda match: match[1].upper(), key): value for key, value in body.fields.items()}
    )


def _existing(model: str) -> str:
    message = f"models/{model} is not found for API version v1beta, or is not supported for generateContent."
    return require_model(model, message)


def _characters(body: Body) -> int:
    contents = body.items("contents")
    if contents is None:
        raise Refused(Problem(400, "* GenerateContentRequest.contents: contents is not specified\n"))
    return count_characters(contents) + count_characters(body.value("systemInstruction"))


def _text_tokens(count: int) -> list[dict[str, object]]:
    return [{"modality": "TEXT", "tokenCount": count}] if count else []
