"""What a messages request asks for, and what of it has no upper bound."""

from __future__ import annotations

from collections.abc import Mapping

from om_proxy.call import Call, Demand, Notes, each_object, positive_int, text_bytes
from om_proxy.problem import invalid_field, invalid_json
from om_proxy.reading import Fields, parse_object
from om_proxy.refusal import Problem
from om_proxy.route import Target
from om_proxy.usage import Unit

# Tools that the client runs: they cost what their definition says, and a preamble.
_CLIENT_TOOLS = ("custom", "bash_", "text_editor_", "computer_", "memory_")
# Tools that the provider runs, reading the prompt again after each use.
_COUNTED_TOOLS = ("web_search_", "web_fetch_")
_SEARCH_TOOL = "web_search_"

# Blocks whose content is in the body as text, or as good as text.
_TEXT_BLOCKS = frozenset(
    {"text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "search_result"}
)
# Whole features that run other models, or this one uncountably often.
_UNBOUNDED_FIELDS = ("mcp_servers", "fallbacks", "container")


def read_messages(target: Target, body: bytes) -> Call | Problem:
    """Understand a request body."""
    document = parse_object(body)
    if document is None:
        return invalid_json()
    model = Fields(document, set()).text("model")
    if model is None:
        return invalid_field("model")
    return Call(
        provider=target.route.provider,
        operation=target.route.operation,
        model=model,
        stream=document.get("stream") is True,
        tier="",  # The request can only rule out the priority tier; the answer says what was served.
        body=body,
        demand=_demand(document, body),
    )


def _demand(document: Mapping[str, object], body: bytes) -> Demand:
    notes = _MessageNotes()
    for field in _UNBOUNDED_FIELDS:
        if document.get(field):
            notes.unbounded(field)
    management = document.get("context_management")
    if isinstance(management, dict):
        each_object(management.get("edits"), "context_management.edits", walk=notes.context_edit)
    messages = document.get("messages")
    each_object(messages, "messages", walk=notes.message)
    each_object(document.get("tools"), "tools", walk=notes.tool)
    return Demand(
        text_bytes=text_bytes(body, document, base64_bytes=notes.base64_bytes),
        prompt_units=_prompt_units(body),
        output_units=(Unit.OUTPUT_TOKENS,),
        messages=len(messages) if isinstance(messages, list) else 0,
        tools=notes.tools,
        images=notes.images,
        image_field=notes.image_field,
        window_field=notes.window_field,
        unbounded_field=notes.unbounded_field,
        output_field="max_tokens",
        output_max=positive_int(document.get("max_tokens")),
        turns=notes.uses + 1,
        web_searches=notes.searches,
    )


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

    def __init__(self) -> None:
        super().__init__()
        self.uses = 0
        self.searches = 0

    def context_edit(self, edit: dict[str, object], field: str) -> None:
        # Clearing makes the prompt smaller; compaction is another call, with tokens of its own.
        if not str(edit.get("type")).startswith("clear_"):
            self.unbounded(field)

    def tool(self, tool: dict[str, object], field: str) -> None:
        self.tools += 1
        kind = tool.get("type")
        if kind is None or str(kind).startswith(_CLIENT_TOOLS):
            return
        uses = positive_int(tool.get("max_uses"))
        if not str(kind).startswith(_COUNTED_TOOLS):
            self.unbounded(f"{field}.type")
        elif uses is None:
            self.unbounded(f"{field}.max_uses")
        else:
            self.uses += uses
            self.searches += uses if str(kind).startswith(_SEARCH_TOOL) else 0

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
