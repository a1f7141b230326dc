"""What a request for content asks for. Names may be in camel case or in snake case: Google reads both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from om_proxy.call.call import Call, Demand, Notes, each_object, positive_int, text_bytes
from om_proxy.call.route import Target
from om_proxy.metering.reading import parse_object
from om_proxy.metering.usage import Unit
from om_proxy.providers.gemini.usage import PROMPT_MODALITIES
from om_proxy.refusals.problem import invalid_json
from om_proxy.refusals.refusal import Problem

GENERATE: Final = "generateContent"
STREAM: Final = "streamGenerateContent"

_INNER_CAPITAL = re.compile(r"(?<=[a-z])[A-Z]")
_FUNCTIONS = ("functionDeclarations", "function_declarations")
_TEXT_PARTS = (
    "text",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "thought",
    "thoughtSignature",
)
_INT64_DIGITS = 19
#: Models that never think, and those that do not where their budget for it is nothing.
_SHOWING_MODEL = re.compile(r"gemini-(?:1\.5|2\.0)-(?:flash|pro)(?!.*(?:think|image|live|audio))")
_BUDGETED_MODEL = re.compile(r"gemini-2\.5-flash(?!.*(?:image|live|audio|tts))")
_OUTPUT_MODALITIES = {"IMAGE": Unit.IMAGE_OUTPUT_TOKENS, "AUDIO": Unit.AUDIO_OUTPUT_TOKENS}


def read_generate(target: Target, body: bytes) -> Call | Problem:
    """Understand a request body; the model is the path's."""
    document = parse_object(body)
    if document is None or target.model is None:
        return invalid_json()
    tier = first(document, "serviceTier")
    demand = _demand(document, body)
    return Call(
        provider=target.route.provider,
        operation=target.route.operation,
        model=model_of(target),
        stream=target.route.operation == STREAM,
        tier=tier.lower() if isinstance(tier, str) else "",
        body=body,
        demand=replace(demand, visible=_shows_all(document, model_of(target))),
        usage=target.route.usage,
    )


def model_of(target: Target) -> str:
    """Name the model that a path speaks of, as prices do."""
    model = (target.model or "").removeprefix("models/")
    return f"tunedModels/{model}" if "/tunedModels/" in target.route.path else model


def _demand(document: Mapping[str, object], body: bytes) -> Demand:
    notes = ContentNotes()
    contents = document.get("contents")
    each_object(contents, "contents", walk=notes.content)
    system = first(document, "systemInstruction")
    if isinstance(system, dict):
        notes.content(system, "systemInstruction")
    each_object(document.get("tools"), "tools", walk=notes.tool)
    if first(document, "cachedContent") is not None:
        notes.reference("cachedContent")
    config = first(document, "generationConfig")
    config = config if isinstance(config, dict) else {}
    return Demand(
        text_bytes=text_bytes(body, document, base64_bytes=notes.base64_bytes),
        prompt_units=notes.prompt_units(),
        output_units=_output_units(first(config, "responseModalities")),
        messages=len(contents) if isinstance(contents, list) else 1,
        tools=notes.tools,
        images=notes.images,
        image_field=notes.image_field,
        window_field=notes.window_field,
        unbounded_field=notes.unbounded_field,
        output_field="generationConfig.maxOutputTokens",
        output_max=_output_max(config),
        choices=max(1, number(first(config, "candidateCount")) or 1),
    )


def _output_max(config: Mapping[str, object]) -> int | None:
    """Read the cap. Thoughts count towards it; a budget for them that is above it is believed."""
    cap = number(first(config, "maxOutputTokens"))
    thinking = first(config, "thinkingConfig")
    budget = number(first(thinking, "thinkingBudget")) if isinstance(thinking, dict) else None
    return cap if cap is None or budget is None else max(cap, budget)


def _shows_all(document: Mapping[str, object], model: str) -> bool:
    """Whether the answer shows all that is charged. What a function is called with is not counted as text."""
    if document.get("tools"):
        return False
    config = first(document, "generationConfig")
    thinking = first(config, "thinkingConfig") if isinstance(config, dict) else None
    if thinking is None:
        return _SHOWING_MODEL.match(model) is not None
    off = isinstance(thinking, dict) and number(first(thinking, "thinkingBudget")) == 0
    return off and _BUDGETED_MODEL.match(model) is not None


def _output_units(modalities: object) -> tuple[Unit, ...]:
    units = [Unit.OUTPUT_TOKENS]
    if isinstance(modalities, list):
        asked = {str(modality).upper() for modality in modalities}
        units += [unit for modality, unit in _OUTPUT_MODALITIES.items() if modality in asked]
    return tuple(units)


class ContentNotes(Notes):
    """Also collects the modalities of a prompt, of which each has units of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.modalities: set[str] = set()

    def prompt_units(self) -> tuple[Unit, ...]:
        """Name what the prompt may be charged as."""
        units = [Unit.INPUT_TOKENS, Unit.CACHE_READ_TOKENS]
        for modality, of_modality in PROMPT_MODALITIES.items():
            units += of_modality if modality in self.modalities else ()
        return tuple(units)

    def reference(self, field: str) -> None:
        """Note something at the provider, which may be of any modality."""
        self.modalities.update(PROMPT_MODALITIES)
        self.needs_window(field)

    def tool(self, tool: dict[str, object], field: str) -> None:
        """Note functions, and what runs at the provider."""
        for name, value in tool.items():
            if name not in _FUNCTIONS:
                # Searching and running code happen at the provider, as often as the model likes.
                self.unbounded(f"{field}.{name}")
            elif isinstance(value, list):
                self.tools += len(value)

    def content(self, content: dict[str, object], field: str) -> None:
        """Note what a content is made of."""
        parts = content.get("parts")
        # A single object is accepted in place of a list.
        each_object([parts] if isinstance(parts, dict) else parts, f"{field}.parts", walk=self.part)

    def part(self, part: dict[str, object], field: str) -> None:
        """Note one part of a content."""
        inline = first(part, "inlineData")
        if isinstance(inline, dict):
            self._inline(inline, field)
            return
        response = first(part, "functionResponse")
        if isinstance(response, dict):
            self.content(response, f"{field}.functionResponse")
        if all(first(part, name) is None for name in _TEXT_PARTS):
            self.reference(field)

    def _inline(self, inline: dict[str, object], field: str) -> None:
        data, kind = inline.get("data"), str(first(inline, "mimeType"))
        self.base64_bytes += len(data) if isinstance(data, str) else 0
        if kind.startswith("image/"):
            self.modalities.add("IMAGE")
            self.image(field)
        else:
            # A film has sound, and a document pictures.
            self.reference(field)


def first(document: Mapping[str, object], name: str) -> object:
    """Read a field by its camel-case name, or else by its snake-case one."""
    value = document.get(name)
    if value is not None:
        return value
    return document.get(_INNER_CAPITAL.sub(lambda capital: f"_{capital[0].lower()}", name))


def number(value: object) -> int | None:
    """Read an integer; Google's JSON takes one in quotes as well."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _INT64_DIGITS:
        return int(value)
    return positive_int(value)
