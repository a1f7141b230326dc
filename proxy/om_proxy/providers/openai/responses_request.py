"""What the Responses API is asked for, and what of it only a context window bounds, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from om_proxy.call.call import Call, Demand, Notes, each_object, positive_int, text_bytes
from om_proxy.call.route import Target
from om_proxy.metering.usage import Unit
from om_proxy.providers.openai.request import call_of, model_of, named_document, shows_all
from om_proxy.refusals.refusal import Problem

_PROMPT = (Unit.INPUT_TOKENS, Unit.CACHE_READ_TOKENS, Unit.CACHE_WRITE_TOKENS)
#: Fields that put something into the prompt that is not in the body.
_REFERENCES = ("previous_response_id", "conversation", "prompt")
#: Tools that the client runs.
_CLIENT_TOOLS = frozenset(
    {"function", "custom", "local_shell", "apply_patch", "computer", "computer_use_preview", "namespace"}
)
#: Tools that the provider runs, each use counted by `max_tool_calls`, with the unit of their fee.
_COUNTED_TOOLS = {
    "web_search": Unit.WEB_SEARCHES,
    "web_search_preview": Unit.WEB_SEARCHES,
    "file_search": Unit.FILE_SEARCHES,
    "code_interpreter": Unit.CODE_EXECUTIONS,
}
_TEXT_ITEMS = frozenset(
    {
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "local_shell_call",
        "local_shell_call_output",
        "apply_patch_call",
        "apply_patch_call_output",
    }
)
_TEXT_PARTS = frozenset({"input_text", "output_text", "refusal", "summary_text", "reasoning_text", "text"})


def read_responses(target: Target, body: bytes) -> Call | Problem:
    """Understand a request body; it is forwarded as it came, because every stream ends with its usage."""
    document = named_document(target, body)
    if isinstance(document, Problem):
        return document
    notes = _ResponseNotes(positive_int(document.get("max_tool_calls")))
    demand = _demand(document, body, notes=notes)
    call = call_of(target, body, document, demand=demand)
    goes_on = document.get("background") is True
    return replace(call, tool_models=tuple(notes.tool_models), deferrable=goes_on)


def _demand(document: Mapping[str, object], body: bytes, *, notes: _ResponseNotes) -> Demand:
    for field in _REFERENCES:
        if document.get(field) is not None:
            notes.needs_window(field)
    if document.get("context_management"):
        # Compaction is another call of the model, and nothing says how often.
        notes.unbounded("context_management")
    items = document.get("input")
    each_object(items, "input", walk=notes.item)
    tools = document.get("tools")
    each_object(tools, "tools", walk=notes.tool)
    units = [*_PROMPT]
    if document.get("prompt_cache_options") is not None:
        units.append(Unit.CACHE_WRITE_12H_TOKENS)
    if notes.audio:
        units.append(Unit.AUDIO_INPUT_TOKENS)
    if notes.images:
        units.append(Unit.IMAGE_INPUT_TOKENS)
    uses = notes.uses or 0
    return Demand(
        text_bytes=text_bytes(body, document, base64_bytes=notes.base64_bytes),
        prompt_units=tuple(units),
        output_units=(Unit.OUTPUT_TOKENS,),
        messages=1 + (len(items) if isinstance(items, list) else 0),
        tools=len(tools) if isinstance(tools, list) else 0,
        images=notes.images,
        image_field=notes.image_field,
        window_field=notes.window_field,
        unbounded_field=notes.unbounded_field,
        output_field="max_output_tokens",
        output_max=positive_int(document.get("max_output_tokens")),
        turns=uses + 1 if notes.fees else 1,
        fees=tuple((unit, uses) for unit in sorted(notes.fees)),
        visible=document.get("reasoning") is None and not notes.fees and shows_all(model_of(document)),
    )


class _ResponseNotes(Notes):
    """Also counts what the provider's own tools may do."""

    def __init__(self, uses: int | None) -> None:
        super().__init__()
        self.uses = uses
        self.fees: set[Unit] = set()
        self.tool_models: list[tuple[str, str]] = []

    def tool(self, tool: dict[str, object], field: str) -> None:
        kind = str(tool.get("type"))
        if kind in _CLIENT_TOOLS:
            return
        unit = next((unit for name, unit in _COUNTED_TOOLS.items() if kind.startswith(name)), None)
        model = tool.get("model")
        if isinstance(model, str):
            self.tool_models.append((kind, model))
        if unit is None:
            # It runs another model, or as often as somebody else decides.
            self.unbounded(f"{field}.type")
        elif self.uses is None:
            self.unbounded("max_tool_calls")
        else:
            self.fees.add(unit)

    def item(self, item: dict[str, object], field: str) -> None:
        kind = item.get("type", "message")
        if kind not in _TEXT_ITEMS:
            self.needs_window(field)
        for name in ("content", "output"):
            each_object(item.get(name), f"{field}.{name}", walk=self.part)

    def part(self, part: dict[str, object], field: str) -> None:
        kind = part.get("type")
        if kind in _TEXT_PARTS:
            return
        inner = part.get("input_audio")
        values = [*part.values(), *(inner.values() if isinstance(inner, dict) else ())]
        # Addresses, ids and base64 alike: none of them is read as text.
        self.base64_bytes += max((len(value) for value in values if isinstance(value, str)), default=0)
        if kind == "input_image":
            self.image(field)
            return
        self.audio = self.audio or kind == "input_audio"
        self.needs_window(field)
