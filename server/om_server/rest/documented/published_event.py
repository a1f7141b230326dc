"""A published event as a UsageEvent: the fields of the published API become lines with units.

This is the fast path of ingestion: messages are filled in place and nothing is parsed twice. It takes
every spelling that the documents and the clients use; what it cannot read refuses one event.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from google.protobuf.struct_pb2 import NULL_VALUE, ListValue, Struct, Value

from om.type.v1 import event_pb2, usage_pb2
from om_server.core.errors import DomainError
from om_server.core.usage import CUSTOM_STEP, SECONDS_STEP, Quantity
from om_server.rest.documented.moment import read_moment, write_timestamp
from om_server.rest.errors import camel_path

_FIELDS = (
    "event_id",
    "customer_id",
    "user_id",
    "team_id",
    "event_type",
    "feature_id",
    "provider",
    "model",
    "input_tokens",
    "output_tokens",
    "image_count",
    "image_size",
    "quality",
    "duration_seconds",
    "resolution",
    "unit_type",
    "quantity",
    "timestamp",
    "metadata",
    "idempotency_key",
)
#: Each accepted spelling to the published one.
_SPELLINGS: Mapping[str, str] = {name: name for name in _FIELDS} | {camel_path(n): n for n in _FIELDS}
_ATTRIBUTES = (("image_size", "size"), ("quality", "quality"), ("resolution", "resolution"))

_NOT_LETTERS = re.compile(r"[^A-Z]")
_TYPE_NAMES = {name: name.removeprefix("EVENT_TYPE_") for name in event_pb2.EventType.keys()[1:]}
#: By letters alone, so that token-usage and tokenUsage are TOKEN_USAGE.
_TYPES = {_NOT_LETTERS.sub("", short): event_pb2.EventType.Value(name) for name, short in _TYPE_NAMES.items()}
EVENT_TYPE_NAMES = tuple(_TYPE_NAMES.values())
_SINGLE_REQUEST = frozenset({event_pb2.EVENT_TYPE_API_CALL, event_pb2.EVENT_TYPE_FEATURE_ACCESS})

_NOT_IN_UNIT = re.compile(r"[^a-z0-9_.-]+")
# A message inside a message costs the reader a level, it has 100, and each level here takes three.
_METADATA_DEPTH_MAX = 16


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an event was not taken: a reason of the contract, a sentence, and the published field."""

    reason: str
    message: str
    field: str


class EventRefused(Exception):
    """One event cannot be read. Never an answer by itself: the batch goes on without it."""

    def __init__(self, field: str, message: str, *, reason: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message)
        self.refusal = Refusal(reason, message, field)


def fill_event(target: event_pb2.UsageEvent, published: object) -> None:
    """Fill an empty message from one item of a batch; EventRefused leaves it half filled.

    The event's id is filled first, so that a refusal can name the event.
    """
    if not isinstance(published, dict):
        raise EventRefused("", "must be an object")
    given = {_SPELLINGS[n]: value for n, value in published.items() if value is not None and n in _SPELLINGS}
    target.event_id = _text(given, "event_id")
    target.type = _event_type(given)
    target.idempotency_key = _text(given, "idempotency_key")
    attribution = target.attribution
    attribution.customer_id = _text(given, "customer_id")
    attribution.user_id = _text(given, "user_id")
    attribution.team_id = _text(given, "team_id")
    attribution.feature_id = _text(given, "feature_id")
    if "timestamp" in given:
        try:
            write_timestamp(read_moment(_text(given, "timestamp")), target.occur_time)
        except ValueError:
            raise EventRefused("timestamp", "must be an ISO 8601 date-time") from None
    if "metadata" in given:
        _fill_metadata(target.metadata, given["metadata"])
    _add_line(target, given)


def _add_line(target: event_pb2.UsageEvent, given: Mapping[str, object]) -> None:
    """Add the one line that a published event has.

    Without any quantity there is none, and the server answers EVENT_EMPTY: nothing reported is not zero.
    """
    quantities = list(_quantities(given, target.type))
    if not quantities:
        return
    line = target.lines.add(provider=_text(given, "provider"), model=_text(given, "model"))
    line.usage.quantities.extend(quantities)
    for field, attribute in _ATTRIBUTES:
        if value := _text(given, field):
            line.attributes[attribute] = value


def _quantities(given: Mapping[str, object], event_type: int) -> Iterator[usage_pb2.Quantity]:
    """What the event reports, whatever its type, and what its type alone implies."""
    found = False
    for quantity in _reported(given, event_type):
        found = True
        yield quantity
    if found:
        return
    if event_type == event_pb2.EVENT_TYPE_IMAGE_GENERATION:
        # As published: an image event without a count is one image.
        yield _measured("image_count", "images", amount=1)
    elif event_type == event_pb2.EVENT_TYPE_VIDEO_GENERATION:
        # Video was made and nobody says how much of it. That is not one second, and not none.
        yield usage_pb2.Quantity(unit="video_seconds", certainty=usage_pb2.CERTAINTY_UNKNOWN)
    elif event_type in _SINGLE_REQUEST:
        yield _measured("event_type", "requests", amount=1)


def _reported(given: Mapping[str, object], event_type: int) -> Iterator[usage_pb2.Quantity]:
    for field, unit in (
        ("input_tokens", "input_tokens"),
        ("output_tokens", "output_tokens"),
        ("image_count", "images"),
    ):
        if field in given:
            yield _measured(field, unit, amount=_whole(given, field))
    if "duration_seconds" in given:
        audio = event_type == event_pb2.EVENT_TYPE_AUDIO_PROCESSING
        unit = "audio_seconds" if audio else "video_seconds"
        yield _measured("duration_seconds", unit, amount=_steps(given, "duration_seconds", step=SECONDS_STEP))
    if "unit_type" in given:
        if "quantity" not in given:
            raise EventRefused("quantity", "must be given with unit_type")
        name = _NOT_IN_UNIT.sub("_", _text(given, "unit_type").strip().lower())
        amount = _steps(given, "quantity", step=CUSTOM_STEP)
        yield _measured("unit_type", f"custom:{name}", amount=amount)
    elif "quantity" in given:
        if event_type not in _SINGLE_REQUEST:
            raise EventRefused("unit_type", "must be given with quantity")
        yield _measured("quantity", "requests", amount=_whole(given, "quantity"))


def _measured(field: str, unit: str, *, amount: int) -> usage_pb2.Quantity:
    try:
        # The value refuses what the server would, and here the published field is still known.
        Quantity(unit, amount)
    except DomainError as error:
        raise EventRefused(field, error.message, reason=error.reason) from error
    return usage_pb2.Quantity(unit=unit, amount=amount, certainty=usage_pb2.CERTAINTY_MEASURED)


def event_type_text(event_type: "event_pb2.EventType.ValueType") -> str:
    """The published name; an event that named no type reports tokens."""
    name = event_pb2.EventType.Name(event_type).removeprefix("EVENT_TYPE_")
    return "TOKEN_USAGE" if name == "UNSPECIFIED" else name


def read_event_type(text: str) -> "event_pb2.EventType.ValueType | None":
    """The type that a word in any case and with any separators names, if it names one."""
    return _TYPES.get(_NOT_LETTERS.sub("", text.upper()))


def _event_type(given: Mapping[str, object]) -> "event_pb2.EventType.ValueType":
    text = _text(given, "event_type")
    if not text:
        return event_pb2.EVENT_TYPE_UNSPECIFIED
    found = read_event_type(text)
    if found is None:
        raise EventRefused("event_type", f"must be one of {', '.join(EVENT_TYPE_NAMES)}")
    return found


def _text(given: Mapping[str, object], field: str) -> str:
    value = given.get(field, "")
    if not isinstance(value, str):
        raise EventRefused(field, "must be text")
    return value


def _whole(given: Mapping[str, object], field: str) -> int:
    value = given[field]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise EventRefused(field, "must be a whole number")
    return value


def _steps(given: Mapping[str, object], field: str, *, step: int) -> int:
    """A number in the steps of its unit, exactly as it was written, rounded half to even."""
    value = given[field]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise EventRefused(field, "must be a number")
    return int((Decimal(str(value)) * step).to_integral_value(ROUND_HALF_EVEN))


def _fill_metadata(target: Struct, value: object) -> None:
    if not isinstance(value, dict):
        raise EventRefused("metadata", "must be an object")
    # An empty object was given too.
    target.SetInParent()
    for name, item in value.items():
        _fill_value(target.fields[name], item, depth=1)


def _fill_value(target: Value, value: object, *, depth: int) -> None:
    if depth > _METADATA_DEPTH_MAX:
        raise EventRefused("metadata", f"must not be nested deeper than {_METADATA_DEPTH_MAX} levels")
    if isinstance(value, str):
        target.string_value = value
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        target.number_value = value
    elif isinstance(value, dict):
        nested: Struct = target.struct_value
        nested.SetInParent()
        for name, item in value.items():
            _fill_value(nested.fields[name], item, depth=depth + 1)
    elif isinstance(value, list):
        items: ListValue = target.list_value
        items.SetInParent()
        for item in value:
            _fill_value(items.values.add(), item, depth=depth + 1)
    else:
        target.null_value = NULL_VALUE
