"""A request as the proxy understands it: which model, whether it streams, and what it may consume at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson

from om_proxy.metering.usage import Unit
from om_proxy.value import value_type


@value_type(frozen=True, slots=True)
class Demand:
    """What bounds a call's consumption, read from its body. Fields name the first place that is to blame."""

    text_bytes: int  # UTF-8 text outside base64 parts. A token is at least one byte.
    prompt_units: tuple[Unit, ...]  # The units among which the prompt may be divided.
    output_units: tuple[Unit, ...]
    messages: int = 0
    tools: int = 0
    images: int = 0
    image_field: str = ""
    window_field: str | None = None  # Something whose size only the context window bounds.
    unbounded_field: str | None = None  # Something that nothing bounds.
    output_field: str = ""  # Where the request would cap its output.
    output_max: int | None = None  # Of one choice.
    choices: int = 1
    predicted_bytes: int = 0  # Predicted output that is charged even where it is rejected.
    turns: int = 1  # How often the prompt may be read again, because tools run at the provider.
    web_searches: int = 0
    fees: tuple[tuple[Unit, int], ...] = ()  # At most so much of other units, beside the tokens.
    instead: tuple[tuple[Unit, int], ...] = ()  # At most so much where the model is not charged by token.
    known: tuple[tuple[Unit, int], ...] = ()  # What the request itself says will be consumed, exactly.
    media_bytes: int = 0  # Of a recording whose length nothing says.
    image_tokens: int | None = None  # Of one image of the prompt, where the provider says so itself.
    visible: bool = False  # The model shows all that it writes: no reasoning, and nothing but text.


#: A request that consumes nothing.
NOTHING = Demand(text_bytes=0, prompt_units=(), output_units=())


@value_type(frozen=True, slots=True)
class Share:
    """What a model may consume within a call beside the call's own demand; paid at that model's rates."""

    model: str
    demand: Demand
    field: str  # What in the request asks for it.


@value_type(frozen=True, slots=True)
class Call:
    """One request, ready to be forwarded and metered."""

    provider: str
    operation: str
    model: str
    stream: bool
    tier: str  # As asked for; empty if not.
    body: bytes  # What goes upstream.
    demand: Demand
    output_clamped: int | None = None  # The output cap that was lowered to this, because the caller let us.
    usage_added: bool = False  # The body was edited to ask for usage: the client must not see that event.
    billable: bool = True  # May consume: needs to be admitted. Else only its answer may tell of earlier work.
    shares: tuple[Share, ...] = ()
    resource: str = ""  # The job, batch or file that the path names.
    deferrable: bool = False  # May go on at the provider under an id that the stream's beginning says.
    usage: str = ""  # How the answer's usage is read, as the route says.
    attributes: tuple[tuple[str, str], ...] = ()  # What was asked for that a price may depend on.
    tool_models: tuple[tuple[str, str], ...] = ()  # Kinds of server tools with the models that they run on.


class Notes:
    """Collects a Demand while a body is walked; the first field of a kind is named."""

    def __init__(self) -> None:
        self.messages = 0
        self.tools = 0
        self.images = 0
        self.image_field = ""
        self.base64_bytes = 0
        self.audio = False
        self.window_field: str | None = None
        self.unbounded_field: str | None = None

    def image(self, field: str) -> None:
        """Note an image of the prompt."""
        self.images += 1
        self.image_field = self.image_field or field

    def needs_window(self, field: str) -> None:
        """Note a part that only the context window bounds."""
        self.window_field = self.window_field or field

    def unbounded(self, field: str) -> None:
        """Note a part that nothing bounds."""
        self.unbounded_field = self.unbounded_field or field


Walk = Callable[[dict[str, object], str], None]


def each_object(value: object, field: str, *, walk: Walk) -> None:
    """Call `walk` with every object of a list and its path; what is no object is the provider's to refuse."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict):
                walk(item, f"{field}[{index}]")


def positive_int(value: object) -> int | None:
    """Read a cap; None for what cannot be one, which the provider will refuse."""
    return value if type(value) is int and value >= 0 else None


def text_bytes(body: bytes, document: Mapping[str, object], *, base64_bytes: int) -> int:
    """Bound the UTF-8 bytes of a body's text: never less than there are.

    An escape is longer than what it stands for, so the body's own length would do; but clients that escape
    every character outside ASCII would be asked for twice the credits.
    """
    size = len(orjson.dumps(document)) if b"\\u" in body else len(body)
    return max(0, min(size, len(body)) - base64_bytes)
