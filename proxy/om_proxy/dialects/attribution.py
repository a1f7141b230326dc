"""Who asks, on whose behalf and for what: what every dialect says, and the headers that say it in both."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import orjson
from multidict import MultiMapping

from om_proxy.metering.reading import parse_object
from om_proxy.refusals.problem import ambiguous_header, invalid_api_key, invalid_header
from om_proxy.refusals.refusal import Problem
from om_proxy.secret import Secret
from om_proxy.value import value_type

CUSTOMER_ID = "X-OM-Customer-Id"
USER_ID = "X-OM-User-Id"
FEATURE_ID = "X-OM-Feature-Id"
METADATA = "X-OM-Metadata"
PROMPT_KEY = "X-OM-Prompt-Key"
PROMPT_VERSION = "X-OM-Prompt-Version"
TAGS = "X-OM-Tags"
INCLUDE_COST = "X-OM-Include-Cost"
CLAMP_OUTPUT = "X-OM-Clamp-Output"
ON_DISCONNECT = "X-OM-On-Disconnect"
SANDBOX = "X-Sandbox"

HEADERS = (
    CUSTOMER_ID,
    USER_ID,
    FEATURE_ID,
    METADATA,
    PROMPT_KEY,
    PROMPT_VERSION,
    TAGS,
    INCLUDE_COST,
    CLAMP_OUTPUT,
    ON_DISCONNECT,
    SANDBOX,
)

_NAMED = (CUSTOMER_ID, USER_ID, FEATURE_ID, PROMPT_KEY)

#: As the contract's Attribution says; an event with more would be invalid, and invalid is not charged.
NAME_MAX = 255
TAGS_MAX = 64
VERSION_MAX = 2**31 - 1
METADATA_MAX_BYTES = 4_096

_KEY_MAX = 255
# Keys made for tests never reach a provider.
_TEST_KEY = "om_test_"
_VERSION_DIGITS_MAX = 10


class OnDisconnect(StrEnum):
    """What becomes of a call whose caller leaves."""

    CANCEL = "cancel"  # It is dropped at the provider; what was produced until then is charged.
    DRAIN = "drain"  # Its answer is read to the end, and exactly that is charged.


@value_type(frozen=True, slots=True)
class Attribution:
    """Who asks, on whose behalf and for what; and what of ours the caller wants with it."""

    api_key: Secret
    customer_id: str
    user_id: str
    feature_id: str
    metadata: bytes | None = None  # A JSON object, compact.
    sandbox: bool = False  # Answer from the simulator, charge nothing.
    tags: tuple[str, ...] = ()
    prompt_key: str = ""
    prompt_version: int | None = None
    include_cost: bool = False  # Tell with the answer what it cost.
    clamp_output: bool | None = None  # Lower the output cap to what is affordable, instead of refusing.
    on_disconnect: OnDisconnect | None = None  # Where the caller leaves before the answer has ended.


def ambiguous(headers: MultiMapping[str], names: Iterable[str]) -> Problem | None:
    """Refuse a header of ours that occurs twice: it would be left to chance which one counts."""
    if len(set(map(str.lower, headers))) == len(headers):
        return None
    for name in names:
        if len(headers.getall(name, ())) > 1:
            return ambiguous_header(name)
    return None


def attributed(headers: MultiMapping[str], key: str) -> Attribution | Problem:
    """Read the headers that both dialects have, or say what is wrong with them. The key is not looked up."""
    names = {name: headers.get(name, "").strip() for name in _NAMED}
    for name, value in names.items():
        if not is_name(value):
            return invalid_header(name)
    if len(key) > _KEY_MAX or not (key.isascii() and key.isprintable()) or " " in key:
        return invalid_api_key()
    version = _version(headers.get(PROMPT_VERSION, "").strip())
    if isinstance(version, Problem):
        return version
    written = headers.get(TAGS, "")
    tags = distinct(tag.strip() for tag in written.split(",") if tag.strip()) if written else ()
    if tags is None:
        return invalid_header(TAGS)
    leaving = headers.get(ON_DISCONNECT, "").strip().lower()
    if leaving and leaving not in set(OnDisconnect):
        return invalid_header(ON_DISCONNECT)
    return Attribution(
        api_key=Secret(key),
        customer_id=names[CUSTOMER_ID],
        user_id=names[USER_ID],
        feature_id=names[FEATURE_ID],
        metadata=_metadata(headers.get(METADATA, "")),
        sandbox=_is_true(headers, SANDBOX) or key.startswith(_TEST_KEY),
        tags=tags,
        prompt_key=names[PROMPT_KEY],
        prompt_version=version,
        include_cost=_is_true(headers, INCLUDE_COST),
        clamp_output=_is_true(headers, CLAMP_OUTPUT) if headers.get(CLAMP_OUTPUT, "").strip() else None,
        on_disconnect=OnDisconnect(leaving) if leaving else None,
    )


def is_name(value: str) -> bool:
    """Whether a name can be stored. Bytes that were no UTF-8 arrive as lone surrogates: not printable."""
    return len(value) <= NAME_MAX and value.isprintable()


def distinct(tags: Iterable[str]) -> tuple[str, ...] | None:
    """Give each tag once, in order; None where one cannot be stored, or there are too many."""
    found = tuple(dict.fromkeys(tags))
    return found if len(found) <= TAGS_MAX and all(map(is_name, found)) else None


def _version(text: str) -> int | Problem | None:
    if not text:
        return None
    digits = text.isascii() and text.isdigit() and len(text) <= _VERSION_DIGITS_MAX
    return int(text) if digits and int(text) <= VERSION_MAX else invalid_header(PROMPT_VERSION)


def _is_true(headers: MultiMapping[str], name: str) -> bool:
    return headers.get(name, "").strip().lower() == "true"


def _metadata(text: str) -> bytes | None:
    """Read the optional metadata; what is no JSON object, or too long, is ignored as published."""
    # A header that was no UTF-8 holds surrogates, which no encoder takes.
    raw = text.encode(errors="replace")
    if not raw or len(raw) > METADATA_MAX_BYTES:
        return None
    parsed = parse_object(raw)
    return orjson.dumps(parsed) if parsed is not None else None
