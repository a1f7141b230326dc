"""Compressed request bodies: a copy is decoded, up to a limit, because a call is bounded before it is sent.

The provider gets the bytes as they came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from multidict import MultiMapping

from om_proxy.call.call import Call
from om_proxy.metering.decode import READABLE_CODINGS, DecodeFault, Decoder
from om_proxy.refusals import problem
from om_proxy.refusals.refusal import Problem

T = TypeVar("T")

_PLAIN = "identity"


def request_coding(headers: MultiMapping[str]) -> str | None:
    """Read the coding of a body: empty for none; None where it has one that cannot be read, or several."""
    if "Content-Encoding" not in headers:
        return ""
    named = [
        name.strip().lower() for line in headers.getall("Content-Encoding", ()) for name in line.split(",")
    ]
    codings = [name for name in named if name != _PLAIN]
    if not codings:
        return ""
    return codings[0] if len(codings) == 1 and codings[0] in READABLE_CODINGS else None


def read_coded(
    body: bytes, coding: str, *, bytes_max: int, understand: Callable[[bytes], tuple[Call, T] | Problem]
) -> tuple[Call, T] | Problem:
    """Understand a body by its plain copy. One that was to be edited is refused: its coding would be gone."""
    decoder = Decoder(coding, bytes_max)
    plain = b"".join(decoder.decode(body))
    if decoder.fault is DecodeFault.OVER_LIMIT:
        return problem.body_too_large(bytes_max)
    if decoder.fault is not None:
        return problem.encoded_body()
    understood = understand(plain)
    if isinstance(understood, Problem):
        return understood
    call, rest = understood
    return problem.encoded_body() if call.body is not plain else (replace(call, body=body), rest)
