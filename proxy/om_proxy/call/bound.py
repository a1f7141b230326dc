"""The most that a call can consume, before it is made: what admission sets aside.

The edge multiplies these ceilings by the rate card's dearest rates; it never prices. A token is at least one
byte, so the bytes of the text bound its tokens; everything else is bounded by the model's own limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from om_proxy.call.call import Call, Demand
from om_proxy.metering.usage import Unit
from om_proxy.value import value_type

# Role markers and separators that providers add to a message, generously.
MESSAGE_OVERHEAD_TOKENS = 16
# Instructions that providers add where tools are offered, once and for each tool without a schema.
TOOL_OVERHEAD_TOKENS = 1_024
# What a stream whose output can be seen begins with, where the request does not cap it.
SLICE_TOKENS = 4_096

_STEPS_PER_RATE = 1_000_000


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """What the rate card knows of a model; None is not known."""

    context_window: int | None = None
    max_output: int | None = None
    image_tokens_max: int | None = None  # Of one image in the prompt; unknown: the window bounds it.


@value_type(frozen=True, slots=True)
class Ceiling:
    """At most this much, divided among the units in a way that nobody knows yet."""

    amount: int
    units: tuple[Unit, ...]


@value_type(frozen=True, slots=True)
class Bound:
    """The ceilings of one call at one model."""

    provider: str
    model: str
    ceilings: tuple[Ceiling, ...]  # By token.
    instead: tuple[Ceiling, ...] = ()  # Where the model is charged by image, second or character.

    def per_unit(self) -> dict[Unit, int]:
        """Give the most of each unit, for limits that count units. Alternatives are not added up."""
        most: dict[Unit, int] = {}
        for ceiling in (*self.ceilings, *self.instead):
            for unit in ceiling.units:
                most[unit] = most.get(unit, 0) + ceiling.amount
        return most

    def nanos(self, per_million: Mapping[str, int]) -> int | None:
        """Multiply each ceiling by its dearest rate, in nano-credits for a million steps; round up.

        Which way a model is charged shows in its prices; the dearer where it has both. None where a unit has
        no rate: the price is unknown, which is not free.
        """
        ways = [_steps(way, per_million) for way in (self.ceilings, self.instead) if way]
        priced = [steps for steps in ways if steps is not None]
        return -(-max(priced) // _STEPS_PER_RATE) if priced else None


def _steps(ceilings: tuple[Ceiling, ...], per_million: Mapping[str, int]) -> int | None:
    total = 0
    for ceiling in ceilings:
        if not per_million.keys() >= set(ceiling.units):
            return None
        total += ceiling.amount * max(per_million[unit] for unit in ceiling.units)
    return total


@dataclass(frozen=True, slots=True)
class Unbounded:
    """The call has no upper bound, because of this field of the request."""

    field: str


def bound(call: Call, limits: ModelLimits) -> Bound | Unbounded:
    """Bound what a call asks of its own model, or name the field that makes it impossible."""
    demand = call.demand
    if demand.unbounded_field is not None:
        return Unbounded(demand.unbounded_field)
    tokens = _tokens(demand, limits)
    instead = tuple(Ceiling(amount, (unit,)) for unit, amount in demand.instead)
    if isinstance(tokens, Unbounded):
        # A model that is not charged by token has no limits in tokens either.
        return Bound(call.provider, call.model, (), instead) if instead else tokens
    return Bound(call.provider, call.model, tokens, instead)


def sliced(call: Call, limits: ModelLimits) -> bool:
    """Whether a call may begin on a slice of its output: only where visible bytes bound all of it."""
    demand = call.demand
    return (
        call.stream
        and demand.visible
        and demand.output_max is None
        and len(demand.output_units) == demand.choices == demand.turns == 1
        and not (demand.predicted_bytes or demand.web_searches or demand.fees or demand.instead)
        and not (call.shares or call.deferrable)
        and (limits.max_output is None or limits.max_output > SLICE_TOKENS)
    )


def _tokens(demand: Demand, limits: ModelLimits) -> tuple[Ceiling, ...] | Unbounded:
    """Bound tokens, and what is charged beside them."""
    ceilings = []
    if demand.prompt_units:
        prompt = _prompt_max(demand, limits)
        if isinstance(prompt, Unbounded):
            return prompt
        ceilings.append(Ceiling(prompt, demand.prompt_units))
    if demand.output_units:
        output = _output_max(demand, limits)
        if isinstance(output, Unbounded):
            return output
        ceilings.append(Ceiling(output, demand.output_units))
    if demand.web_searches:
        ceilings.append(Ceiling(demand.web_searches, (Unit.WEB_SEARCHES,)))
    ceilings += [Ceiling(amount, (unit,)) for unit, amount in demand.fees]
    return tuple(ceilings)


def _prompt_max(demand: Demand, limits: ModelLimits) -> int | Unbounded:
    field = demand.window_field
    images = 0
    if demand.images:
        each = limits.image_tokens_max if limits.image_tokens_max is not None else demand.image_tokens
        if each is None:
            field = field or demand.image_field
        else:
            images = demand.images * each
    if field is not None or demand.turns > 1:
        if limits.context_window is None:
            return Unbounded(field or "tools")
        return limits.context_window * demand.turns
    overhead = demand.messages * MESSAGE_OVERHEAD_TOKENS
    if demand.tools:
        overhead += (demand.tools + 1) * TOOL_OVERHEAD_TOKENS
    return demand.text_bytes + overhead + images


def _output_max(demand: Demand, limits: ModelLimits) -> int | Unbounded:
    # A cap above the catalogue's maximum is believed: the catalogue may be older than the model.
    cap = limits.max_output if demand.output_max is None else demand.output_max
    if cap is None:
        return Unbounded(demand.output_field)
    return cap * demand.choices + demand.predicted_bytes
