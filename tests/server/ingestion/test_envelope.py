"""Envelopes: what comes out is what went in, or nothing at all; and what an event's hash depends on."""

import base64
import dataclasses

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.event import Attribution, EdgePosition, Event, EventType, Funding, Outcome, UsageLine
from om_server.core.usage import QUANTITY_MAX, UNITS, Certainty, Quantity, Usage
from om_server.ingestion import envelope
from tests.server.ingestion.harness import POSITION, edge_event, event

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_INT64 = st.integers(-(2**63), 2**63 - 1)
_NANOS = st.integers(0, 2**62)

_QUANTITIES = st.one_of(
    st.builds(Quantity, st.sampled_from(sorted(UNITS)), st.integers(0, QUANTITY_MAX)),
    st.builds(
        Quantity, st.just("custom:widgets"), st.integers(0, QUANTITY_MAX), st.just(Certainty.ESTIMATED)
    ),
    st.builds(Quantity, st.sampled_from(sorted(UNITS)), st.none(), st.just(Certainty.UNKNOWN)),
)
_USAGES = st.lists(_QUANTITIES, max_size=4, unique_by=lambda item: item.unit).map(
    lambda items: Usage(tuple(items))
)
_LINES = st.builds(
    UsageLine,
    provider=_TEXT,
    model=_TEXT,
    usage=_USAGES,
    requested_model=_TEXT,
    tier=_TEXT,
    attributes=st.dictionaries(_TEXT, _TEXT, max_size=3),
    raw_usage=_TEXT,
)
_ATTRIBUTIONS = st.builds(
    Attribution,
    customer_id=_TEXT,
    user_id=_TEXT,
    team_id=_TEXT,
    feature_id=_TEXT,
    prompt_key=_TEXT,
    prompt_version=st.none() | st.integers(0, 2**31 - 1),
    tags=st.lists(_TEXT, max_size=3).map(tuple),
)
EVENTS = st.builds(
    Event,
    organization_id=_TEXT,
    source=_TEXT,
    event_id=_TEXT,
    event_type=st.sampled_from(EventType),
    event_time=_INT64,
    receive_time=_INT64,
    attribution=_ATTRIBUTIONS,
    lines=st.lists(_LINES, max_size=3).map(tuple),
    outcome=st.sampled_from(Outcome),
    metadata_json=_TEXT,
    idempotency_key=_TEXT,
    sandbox=st.booleans(),
    key_id=_TEXT,
    edge=st.none() | st.builds(EdgePosition, _TEXT, _INT64, _INT64),
    funding=st.lists(st.builds(Funding, _TEXT, _NANOS, _NANOS), max_size=2).map(tuple),
    wallet_id=_TEXT,
    unfunded=st.booleans(),
    job_id=_TEXT,
    http_status=st.integers(0, 999),
    latency_ms=st.none() | _INT64,
    flags=st.lists(_TEXT, max_size=2).map(tuple),
    payload_hash=_TEXT,
    trace_parent=_TEXT,
)


@given(events=st.lists(EVENTS, max_size=3))
def test_what_comes_out_is_what_went_in(events: list[Event]) -> None:
    assert envelope.unpack(envelope.pack(events)) == events


@given(st.lists(st.tuples(EVENTS, _INT64, st.booleans()), max_size=3))
def test_what_is_sealed_says_what_is_believed_under_the_hash_of_what_was_claimed(
    drawn: list[tuple[Event, int, bool]],
) -> None:
    sealed, expected = [], []
    for claimed, time, supplied in drawn:
        believed = dataclasses.replace(claimed, event_time=time, flags=("moved",))
        digest = envelope.payload_hash(claimed, time_supplied=supplied)
        sealed.append(envelope.seal(claimed, believed, time_supplied=supplied))
        expected.append(dataclasses.replace(believed, payload_hash=digest))

    assert [item.payload_hash for item in sealed] == [event.payload_hash for event in expected]
    assert envelope.unpack(envelope.pack_sealed(sealed)) == expected


def test_the_strategy_knows_every_field() -> None:
    """Else a new field could be lost on the way unseen: no default hides it from the round trip."""
    given_fields = EVENTS.wrapped_strategy.kwargs  # type: ignore[attr-defined] # Of a lazy strategy.
    assert set(given_fields) == {field.name for field in dataclasses.fields(Event)}


def _changed(**changes: object) -> str:
    return orjson.dumps(orjson.loads(envelope.pack([event()])) | changes).decode()


def _with_event(**changes: object) -> str:
    [packed] = orjson.loads(envelope.pack([event()]))["events"]
    return _changed(events=[packed | changes])


def _with_line(**changes: object) -> str:
    [packed] = orjson.loads(envelope.pack([event()]))["events"]
    return _with_event(lines=[packed["lines"][0] | changes])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "null",
        "7",
        "{}",
        '{"version": 1}',
        '{"version": 1, "events": 7}',
        '{"version": 1, "events": [{}]}',
        _changed(version=2),
        _changed(version="1"),
        _changed(version=None),
        _with_event(outcome="FORGOTTEN"),
        _with_event(event_type="OF_TOMORROW"),
        _with_event(edge=["edg_1"]),
        _with_event(funding=[["lse_1"]]),
        _with_event(attribution=None),
        _with_event(attribution="acme"),
        _with_event(attribution={"tags": [], "colour": "red"}),
        _with_event(lines=["a line"]),
        _with_line(usage=[["input_tokens", 1]]),
        _with_line(usage=[["input_tokens", 1, "guessed"]]),
        _with_line(usage=[["a_unit_of_tomorrow", 1, "measured"]]),
        _with_line(usage=[["input_tokens", -1, "measured"]]),
        _with_line(usage=[["input_tokens", None, "measured"]]),
        envelope.pack_unread(envelope.Unread(b"bytes")),
    ],
)
def test_what_this_program_cannot_read_whole_it_does_not_read(text: str) -> None:
    with pytest.raises(envelope.EnvelopeUnreadable) as caught:
        envelope.unpack(text)

    assert caught.value.metadata == {}


def test_a_message_that_broke_a_rule_is_kept_byte_for_byte() -> None:
    unread = envelope.Unread(b"\x00\xff", "edg_1", "wal_1", (Funding("lse_1", 5, 3),))
    text = envelope.pack_unread(unread)

    assert envelope.unpack_unread(text) == unread
    kept = orjson.loads(text)
    assert (kept["version"], base64.b64decode(kept["message"])) == (0, b"\x00\xff")


def test_a_letter_of_an_older_program_names_no_lease() -> None:
    older = orjson.dumps({"version": 0, "message": base64.b64encode(b"sent").decode()}).decode()

    assert envelope.unpack_unread(older) == envelope.Unread(b"sent")


@pytest.mark.parametrize("text", ["no envelope", "[]", "{}", '{"message": "c2VudA==", "funding": [[1]]}'])
def test_what_was_not_kept_unread_is_not_read(text: str) -> None:
    with pytest.raises(envelope.EnvelopeUnreadable):
        envelope.unpack_unread(text)


def digest(made: Event, *, time_supplied: bool = True) -> str:
    return envelope.payload_hash(made, time_supplied=time_supplied)


@pytest.mark.parametrize(
    "changes",
    [
        {"event_type": EventType.CUSTOM},
        {"event_time": 1},
        {"attribution": Attribution(customer_id="acme", tags=("a",))},
        {"attribution": Attribution(customer_id="acme", tags=("b", "a"))},
        {"attribution": Attribution(customer_id="other", tags=("a", "b"))},
        {"attribution": Attribution(customer_id="acme", user_id="ada", tags=("a", "b"))},
        {"lines": ()},
        {"lines": (UsageLine("openai", "gpt-4o", Usage.measured(input_tokens=2, output_tokens=4)),)},
        {"outcome": Outcome.ZERO},
        {"metadata_json": '{"a":1}'},
        {"idempotency_key": "k"},
        {"sandbox": True},
        {"funding": (Funding("lse_1", 1, 1),)},
        {"wallet_id": "wal_1"},
        {"unfunded": True},
        {"job_id": "batch_1"},
        {"http_status": 200},
        {"latency_ms": 0},
    ],
)
def test_another_claim_has_another_hash(changes: dict[str, object]) -> None:
    assert digest(event(**changes)) != digest(event())


@pytest.mark.parametrize(
    "changes",
    [
        {"receive_time": 1},
        {"flags": ("time_clamped",)},
        {"payload_hash": "x"},
        {"organization_id": "org_other"},
        {"event_id": "e2"},
        {"source": "batch"},
    ],
)
def test_what_the_server_adds_and_the_identity_itself_are_no_claim(changes: dict[str, object]) -> None:
    assert digest(event(**changes)) == digest(event())


def test_an_application_may_repeat_an_event_with_its_next_key() -> None:
    rotated = event(
        key_id="key_next", attribution=dataclasses.replace(event().attribution, team_id="team_next")
    )

    assert digest(rotated) == digest(event())


def test_an_edge_names_the_key_itself() -> None:
    assert digest(edge_event(key_id="key_other")) != digest(edge_event())


def test_an_edges_event_may_come_from_another_place_in_a_journal() -> None:
    moved = dataclasses.replace(POSITION, edge_epoch=4, sequence=1)

    assert digest(edge_event(edge=moved)) == digest(edge_event())


def test_a_time_that_nobody_gave_is_no_claim() -> None:
    assert digest(event(event_time=1), time_supplied=False) == digest(event(), time_supplied=False)
    assert digest(event(), time_supplied=False) != digest(event())


def test_the_order_of_attributes_is_no_claim() -> None:
    first, second = (
        UsageLine("openai", "dall-e-3", Usage.measured(images=1), attributes=attributes)
        for attributes in ({"size": "1024x1024", "quality": "hd"}, {"quality": "hd", "size": "1024x1024"})
    )

    assert digest(event(lines=(first,))) == digest(event(lines=(second,)))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_an_event_is_found_in_its_envelope(event_id: str) -> None:
    packed = envelope.pack([event("other"), event(event_id)])

    assert envelope.marker(event_id) in packed
    assert envelope.names(packed) == {("api", "other"), ("api", event_id)}


def test_an_envelope_that_cannot_be_read_names_nothing() -> None:
    assert envelope.names("no envelope") == set()
