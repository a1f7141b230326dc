"""Tokens as the published API counts them: one number in, one number out.

Our units are disjoint, so what a prompt consumed is a sum of several.
"""

from collections.abc import Iterable

from om.type.v1.usage_pb2 import Quantity
from om_server.core.usage import PROMPT_UNITS

INPUT_UNITS = PROMPT_UNITS | {"tool_input_tokens"}
OUTPUT_UNITS = frozenset(
    {"output_tokens", "audio_output_tokens", "image_output_tokens", "video_output_tokens"}
)


def input_tokens(quantities: Iterable[Quantity]) -> int | None:
    """Everything put before the model, cached or not; nothing if no such number is known."""
    return _sum(quantities, INPUT_UNITS)


def output_tokens(quantities: Iterable[Quantity]) -> int | None:
    """Everything that the model produced; nothing if no such number is known."""
    return _sum(quantities, OUTPUT_UNITS)


def is_output(unit: str) -> bool:
    """Whether the unit counts tokens that the model produced."""
    return unit in OUTPUT_UNITS


def _sum(quantities: Iterable[Quantity], units: frozenset[str]) -> int | None:
    known = [item.amount for item in quantities if item.unit in units and item.HasField("amount")]
    return sum(known) if known else None
