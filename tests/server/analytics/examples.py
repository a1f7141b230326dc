"""Settled events for tests: one with everything set, plain ones, and random ones."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from om_server.analytics.settled import SettledEvent, SettledLine, SettledState
from om_server.core.event import Attribution, EdgePosition, Event, EventType, Funding, Outcome, UsageLine
from om_server.core.hours import HOUR
from om_server.core.usage import Certainty, Quantity, Usage

ORG = "org_a"
OTHER_ORG = "org_b"

#: 2026-11-21 10:15 UTC.
NOW = 1_795_256_100_000_000


def line(
    model: str = "gpt-4o", *, cost: int | None = 10, charge: int | None = 20, **amounts: int
) -> SettledLine:
    usage = Usage.measured(**(amounts or {"input_tokens": 100, "output_tokens": 7}))
    provider = "anthropic" if model.startswith("claude") else "openai"
    return SettledLine(
        UsageLine(provider, model, usage), cost, charge, priced_model=model, price_version="v1"
    )


def settled(event_id: str, *lines: SettledLine, **changes: Any) -> SettledEvent:
    """A rated event of these lines. Changes may name fields of the event, its attribution or the result."""
    lines = lines or (line(),)
    attribution = Attribution(**_taken(Attribution, changes))
    event_fields = {
        "organization_id": ORG,
        "source": "api",
        "event_type": EventType.TOKEN_USAGE,
        "event_time": NOW,
        "receive_time": NOW + 1,
        **_taken(Event, changes),
    }
    event = Event(
        event_id=event_id,
        attribution=attribution,
        lines=tuple(part.line for part in lines),
        **event_fields,
    )
    return SettledEvent(
        event=event,
        lines=lines,
        **{
            "state": SettledState.RATED,
            "cost": sum(part.cost or 0 for part in lines),
            "charge": sum(part.charge or 0 for part in lines),
            "settle_time": NOW + 2,
            **changes,
        },
    )


def _taken(kind: Any, changes: dict[str, Any]) -> dict[str, Any]:
    names = {item.name for item in dataclasses.fields(kind)} - {"flags", "wallet_id"}
    return {name: changes.pop(name) for name in list(changes) if name in names}


def full_event() -> SettledEvent:
    """Every field that is kept has a value of its own."""
    usage = Usage(
        (
            Quantity("input_tokens", 12),
            Quantity("output_tokens", 3, Certainty.ESTIMATED),
            Quantity("custom:pages_read", 2_500_000),
        )
    )
    first = SettledLine(
        UsageLine(
            "openai",
            "gpt-4o-2024-08-06",
            usage,
            requested_model="gpt-4o",
            tier="batch",
            attributes={"size": "1024x1024", "quality": "höch"},
            raw_usage='{"total_tokens": 15}',
        ),
        cost=7,
        charge=9,
        priced_model="gpt-4o",
        price_version="builtin-1",
        context_threshold=200_000,
    )
    event = Event(
        organization_id=ORG,
        source="proxy",
        event_id="evt/1 é",
        event_type=EventType.IMAGE_GENERATION,
        event_time=NOW - 3_000_000,
        receive_time=NOW - 2_000_000,
        attribution=Attribution(
            customer_id="customer",
            user_id="user",
            team_id="team",
            feature_id="feature",
            prompt_key="prompt",
            prompt_version=3,
            tags=("a", 'quo"te', "new\nline", "comma,", "\\"),
        ),
        lines=(first.line,),
        outcome=Outcome.ESTIMATED,
        metadata_json='{"nested":{"list":[1,2.5,null,true]}}',
        key_id="key",
        idempotency_key="key of the caller",
        edge=EdgePosition("edge", 4, 17),
        funding=(Funding("lse_1", 50, 40), Funding("lse_2", 5, 5)),
        wallet_id="wallet",
        job_id="job",
        unfunded=True,
        http_status=200,
        latency_ms=0,
        flags=("estimated", "over_bound"),
    )
    return SettledEvent(
        event=event,
        state=SettledState.RATED,
        cost=7,
        charge=9,
        lines=(first,),
        settle_time=NOW,
        wallet_id="wallet",
        receivable=2,
        flags=("estimated", "over_bound"),
        burn_table_version="burn-2",
    )


_NAMES = st.sampled_from(["", "a", "b"])
_TAGS = st.lists(st.sampled_from(["x", "y", ",", '"', "X"]), max_size=3, unique=True).map(tuple)
_UNITS = ("input_tokens", "output_tokens", "custom:clicks")
_MONEY = st.integers(-5, 2**40)


@st.composite
def _lines(draw: st.DrawFn) -> UsageLine:
    quantities = []
    for unit in draw(st.lists(st.sampled_from(_UNITS), max_size=3, unique=True)):
        certainty = draw(st.sampled_from(Certainty))
        amount = None if certainty is Certainty.UNKNOWN else draw(st.integers(0, 2**50))
        quantities.append(Quantity(unit, amount, certainty))
    provider, model = draw(
        st.sampled_from([("openai", "m1"), ("openai", "m2"), ("OpenAI", "m2"), ("x", "m1")])
    )
    return UsageLine(provider, model, Usage(tuple(quantities)))


@st.composite
def settled_events(draw: st.DrawFn, organizations: Sequence[str] = (ORG, OTHER_ORG)) -> SettledEvent:
    """Any mixture of states, outcomes, lines and tags, over two days."""
    state = draw(st.sampled_from(SettledState))
    amount: Callable[[], int | None]
    if state is SettledState.UNRATED:
        amount = lambda: draw(st.none() | _MONEY)  # noqa: E731 - one of three
    else:
        amount = lambda: 0 if state is SettledState.ZERO else draw(_MONEY)  # noqa: E731
    lines = tuple(SettledLine(item, amount(), amount()) for item in draw(st.lists(_lines(), max_size=3)))
    cost = sum(item.cost or 0 for item in lines) if lines else amount()
    charge = sum(item.charge or 0 for item in lines) if lines else amount()
    event = Event(
        organization_id=draw(st.sampled_from(organizations)),
        source=draw(st.sampled_from(["api", "proxy"])),
        event_id=f"evt_{draw(st.integers(0, 2**64))}",
        event_type=draw(st.sampled_from([EventType.TOKEN_USAGE, EventType.API_CALL])),
        event_time=NOW - draw(st.integers(0, 48 * HOUR)),
        receive_time=NOW,
        attribution=Attribution(
            customer_id=draw(_NAMES),
            user_id=draw(_NAMES),
            team_id=draw(_NAMES),
            prompt_version=draw(st.none() | st.integers(0, 2)),
            tags=draw(_TAGS),
        ),
        lines=tuple(item.line for item in lines),
        outcome=draw(st.sampled_from([Outcome.CHARGED, Outcome.ZERO, Outcome.UNKNOWN])),
        sandbox=draw(st.booleans()),
    )
    return SettledEvent(event, state, cost, charge, lines, settle_time=NOW)


def batches(max_size: int = 12) -> st.SearchStrategy[list[SettledEvent]]:
    """Batches of events with different identities."""
    return st.lists(settled_events(), max_size=max_size, unique_by=lambda item: item.event.identity)
