"""Lowers the output cap of a request to what its wallet affords, for callers who prefer that to a refusal."""

from __future__ import annotations

from collections.abc import Mapping

from om_proxy.call.call import Demand
from om_proxy.json_text import insert_first, last_member, replace
from om_proxy.metering.reading import parse_object

_INT64_DIGITS = 19
# Names that mean the same cap, the one to be written where there is none first.
_SPELLINGS = {
    "max_completion_tokens": ("max_completion_tokens", "max_tokens"),
    "generationConfig": ("generationConfig", "generation_config"),
    "maxOutputTokens": ("maxOutputTokens", "max_output_tokens"),
}


def affordable_cap(demand: Demand, output_tokens: int) -> int | None:
    """The largest cap with which a request stays within so many output tokens; None where none does.

    Every choice may use the cap up, and a rejected prediction is charged beside it.
    """
    cap = (output_tokens - demand.predicted_bytes) // demand.choices
    return cap if cap > 0 else None


def with_cap(body: bytes, output_field: str, cap: int) -> bytes | None:
    """Write a lower cap into a request; None where it has one already, or there is no place for it.

    `output_field` is the path of the cap as the provider calls it. Every other byte stays.
    """
    document = parse_object(body)
    if document is None or not output_field:
        return None
    outer, _, name = output_field.rpartition(".")
    if not outer:
        return _capped(body, document, name, cap=cap)
    spelled = next((spelling for spelling in _spellings(outer) if spelling in document), None)
    if spelled is None:
        return insert_first(body, b'"%b":{"%b":%d}' % (outer.encode(), name.encode(), cap))
    inner, member = document[spelled], last_member(body, spelled)
    if not isinstance(inner, dict) or member is None:
        return None
    return _capped(body, inner, name, cap=cap, start=member.start)


def _capped(
    text: bytes, document: Mapping[str, object], name: str, *, cap: int, start: int = 0
) -> bytes | None:
    spellings = [spelling for spelling in _spellings(name) if spelling in document]
    if not spellings:
        return insert_first(text, b'"%b":%d' % (name.encode(), cap), start=start)
    edited = text
    for spelling in spellings:
        member = last_member(edited, spelling, start=start)
        if member is not None and _exceeds(document[spelling], cap):
            edited = replace(edited, member, value=b"%d" % cap)
    return None if edited == text else edited


def _spellings(name: str) -> tuple[str, ...]:
    return _SPELLINGS.get(name, (name,))


def _exceeds(value: object, cap: int) -> bool:
    """Whether a cap is above another, or says nothing. What is no cap stays for the provider to refuse."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _INT64_DIGITS:
        return int(value) > cap
    return value is None or (type(value) is int and value > cap)
