"""What a request for a message asks for, which other models it may run, and what of it has no upper bound."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from om_proxy.call.call import Call, Demand, Notes, Share, each_object, positive_int, text_bytes
from om_proxy.call.route import Target
from om_proxy.metering.reading import Fields, parse_object
from om_proxy.metering.usage import Unit
from om_proxy.refusals.problem import invalid_field, invalid_json
from om_proxy.refusals.refusal import Problem

# Tools that the client runs: they cost what their definition says, and a preamble.
_CLIENT_TOOLS = ("custom", "bash_", "text_editor_", "computer_", "memory_")
# Tools that the provider runs, reading the prompt again after each use.
_COUNTED_TOOLS = ("web_search_", "web_fetch_")
_SEARCH_TOOL = "web_search_"
# A tool that asks another model, which reads all that was said so far.
_ADVISOR_TOOL = "advisor_"

# Blocks whose content is in the body as text, or as good as text.
_TEXT_BLOCKS = frozenset(
    {"text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "search_result"}
)
# Models that think only where they are asked to. Any other may do it by itself, now or tomorrow.
_SHOWING_MODEL = re.compile(r"claude-(?:3|(?:opus|sonnet|haiku)-4)")
# Whole features that run this model uncountably often.
_UNBOUNDED_FIELDS = ("mcp_servers", "container")
_EVERY_PROMPT_UNIT = (
    Unit.INPUT_TOKENS,
    Unit.CACHE_READ_TOKENS,
    Unit.CACHE_WRITE_5M_TOKENS,
    Unit.CACHE_WRITE_1H_TOKENS,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request for a message asks for."""

    model: str
    stream: bool
    demand: Demand
    shares: tuple[Share, ...]


def read_messages(target: Target, body: bytes) -> Call | Problem:
    """Understand a request body; it is forwarded as it came."""
    document = parse_object(body)
    if document is None:
        return invalid_json()
    asked = read_message(document, body)
    if asked is None:
        return invalid_field("model")
    return Call(
        provider=target.route.provider,
        operation=target.route.operation,
        model=asked.model,
        stream=asked.stream,
        tier="",  # The request can only rule out the priority tier; the answer says what was served.
        body=body,
        demand=asked.demand,
        shares=asked.shares,
        usage=target.route.usage,
    )


def read_message(document: Mapping[str, object], text: bytes, *, prefix: str = "") -> Asked | None:
    """Read a request for a message, whose text is `text`; None where it names no model.

    `prefix` is where in the body it stands.
    """
    model = Fields(document, set()).text("model")
    if model is None:
        return None
    notes = _MessageNotes(prefix)
    each_object(document.get("tools"), f"{prefix}tools", walk=notes.tool)
    each_object(document.get("messages"), f"{prefix}messages", walk=notes.message)
    for field in _UNBOUNDED_FIELDS:
        if document.get(field):
            notes.unbounded(f"{prefix}{field}")
    notes.management(document.get("context_management"))
    demand = _demand(document, text, notes)
    shares = [
        *(_window_share(advisor, runs=runs, field=field) for advisor, runs, field in notes.advisors),
        *(_window_share(model, runs=notes.uses + 1, field=field) for field in notes.compactions),
        *_fallbacks(document.get("fallbacks"), demand, notes=notes),
    ]
    # Whatever else was found to be without a bound is so for the whole request.
    demand = replace(demand, unbounded_field=notes.unbounded_field)
    return Asked(model, document.get("stream") is True, demand, tuple(shares))


def _demand(document: Mapping[str, object], text: bytes, notes: _MessageNotes) -> Demand:
    messages = document.get("messages")
    return Demand(
        text_bytes=text_bytes(text, document, base64_bytes=notes.base64_bytes),
        prompt_units=_prompt_units(text),
        output_units=(Unit.OUTPUT_TOKENS,),
        messages=len(messages) if isinstance(messages, list) else 0,
        tools=notes.tools,
        images=notes.images,
        image_field=notes.image_field,
        window_field=notes.window_field,
        unbounded_field=notes.unbounded_field,
        output_field=f"{notes.prefix}max_tokens",
        output_max=_output_max(document),
        turns=notes.uses + 1,
        web_searches=notes.searches,
        visible=_shows_all(document, notes),
    )


def _shows_all(document: Mapping[str, object], notes: _MessageNotes) -> bool:
    thinking = document.get("thinking")
    off = thinking is None or (isinstance(thinking, dict) and thinking.get("type") == "disabled")
    return off and not notes.uses and _SHOWING_MODEL.match(str(document.get("model"))) is not None


def _output_max(document: Mapping[str, object]) -> int | None:
    """Read the cap. Thinking counts towards it, but where it goes on between tools it may pass it."""
    cap = positive_int(document.get("max_tokens"))
    thinking = document.get("thinking")
    budget = positive_int(thinking.get("budget_tokens")) if isinstance(thinking, dict) else None
    return cap if cap is None or budget is None else max(cap, budget)


def _window_share(model: str, *, runs: int, field: str) -> Share:
    """Bound a model that reads what no request shows, as often as it may run."""
    demand = Demand(
        text_bytes=0,
        prompt_units=_EVERY_PROMPT_UNIT,
        output_units=(Unit.OUTPUT_TOKENS,),
        window_field=field,
        output_field=field,
        turns=runs,
        choices=runs,
    )
    return Share(model, demand, field)


def _fallbacks(fallbacks: object, demand: Demand, *, notes: _MessageNotes) -> list[Share]:
    """Name the models that may answer instead, each of which may have read the prompt and written in vain."""
    if not fallbacks:
        return []
    if not isinstance(fallbacks, list):
        notes.unbounded(f"{notes.prefix}fallbacks")
        return []
    shares = []
    for index, item in enumerate(fallbacks):
        field = f"{notes.prefix}fallbacks[{index}]"
        entry: Mapping[str, object] = item if isinstance(item, dict) else {"model": item}
        model = Fields(entry, set()).text("model")
        if model is None:
            notes.unbounded(field)
            continue
        caps = (positive_int(entry.get("max_tokens")), demand.output_max)
        most = max((cap for cap in caps if cap is not None), default=None)
        shares.append(Share(model, replace(demand, output_max=most), field))
    return shares


def _prompt_units(body: bytes) -> tuple[Unit, ...]:
    """Name what the prompt may be charged as. Nothing is cached unless the request says so.

    Escapes could hide the words, so a body with any is taken to say everything.
    """
    escaped = b"\\u" in body
    units = [Unit.INPUT_TOKENS]
    if escaped or b"cache_control" in body:
        units += [Unit.CACHE_READ_TOKENS, Unit.CACHE_WRITE_5M_TOKENS]
        if escaped or b'"1h"' in body:
            units.append(Unit.CACHE_WRITE_1H_TOKENS)
    return tuple(units)


class _MessageNotes(Notes):
    """Also counts what the provider's own tools may do."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix
        self.uses = 0
        self.searches = 0
        self.advisors: list[tuple[str, int, str]] = []  # Model, how often, and the field.
        self.compactions: list[str] = []

    def management(self, management: object) -> None:
        if isinstance(management, dict):
            edits = management.get("edits")
            each_object(edits, f"{self.prefix}context_management.edits", walk=self.context_edit)

    def context_edit(self, edit: dict[str, object], field: str) -> None:
        kind = str(edit.get("type"))
        if kind.startswith("clear_"):
            return  # The prompt becomes smaller.
        if kind.startswith("compact_") and edit.get("model") is None:
            # Another call of this model, which reads everything and writes a summary.
            self.compactions.append(field)
        else:
            self.unbounded(field)

    def tool(self, tool: dict[str, object], field: str) -> None:
        self.tools += 1
        kind = tool.get("type")
        if kind is None or str(kind).startswith(_CLIENT_TOOLS):
            return
        uses = positive_int(tool.get("max_uses"))
        advises = str(kind).startswith(_ADVISOR_TOOL)
        if not advises and not str(kind).startswith(_COUNTED_TOOLS):
            self.unbounded(f"{field}.type")
            return
        model = Fields(tool, set()).text("model")
        if advises and model is None:
            self.unbounded(f"{field}.model")
        elif uses is None:
            self.unbounded(f"{field}.max_uses")
        else:
            self.uses += uses
            self.searches += uses if str(kind).startswith(_SEARCH_TOOL) else 0
            if advises and model is not None:
                self.advisors.append((model, uses, f"{field}.model"))

    def message(self, message: dict[str, object], field: str) -> None:
        each_object(message.get("content"), f"{field}.content", walk=self.block)

    def block(self, block: dict[str, object], field: str) -> None:
        kind = str(block.get("type"))
        if kind == "tool_result":
            each_object(block.get("content"), f"{field}.content", walk=self.block)
        elif kind in _TEXT_BLOCKS or kind.endswith("_tool_result"):
            return
        elif kind == "image":
            self.image(field)
            self.base64_bytes += _base64_length(block)
        elif kind == "document":
            self._document(block, field)
        else:
            self.needs_window(field)

    def _document(self, block: dict[str, object], field: str) -> None:
        source = block.get("source")
        kind = source.get("type") if isinstance(source, dict) else None
        if isinstance(source, dict) and kind == "content":
            each_object(source.get("content"), f"{field}.source.content", walk=self.block)
        elif kind != "text":
            self.needs_window(f"{field}.source")
            self.base64_bytes += _base64_length(block)


def _base64_length(block: dict[str, object]) -> int:
    source = block.get("source")
    if not isinstance(source, dict) or source.get("type") != "base64":
        return 0
    data = source.get("data")
    return len(data) if isinstance(data, str) else 0
