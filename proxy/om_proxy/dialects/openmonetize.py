"""The header-attributed dialect: four X-OM headers are required, X-OM-Metadata and X-Sandbox are optional."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from multidict import MultiMapping

from om_proxy.problem import ambiguous_header, invalid_api_key, invalid_header, missing_billing_headers
from om_proxy.reading import parse_object
from om_proxy.refusal import Problem
from om_proxy.secret import Secret

API_KEY = "X-OM-Api-Key"
CUSTOMER_ID = "X-OM-Customer-Id"
USER_ID = "X-OM-User-Id"
FEATURE_ID = "X-OM-Feature-Id"
METADATA = "X-OM-Metadata"
SANDBOX = "X-Sandbox"

ID_MAX = 255
KEY_MAX = 255
METADATA_MAX_BYTES = 4_096

_REQUIRED = (CUSTOMER_ID, USER_ID, FEATURE_ID, API_KEY)
# Keys made for tests never reach a provider.
_TEST_KEY = "om_test_"


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who asks, on whose behalf and for what."""

    api_key: Secret
    customer_id: str
    user_id: str
    feature_id: str
    metadata: bytes | None = None  # A JSON object, compact.
    sandbox: bool = False  # Answer from the simulator, charge nothing.


def attribution(headers: MultiMapping[str]) -> Attribution | Problem:
    """Read the headers, or say what is wrong with them. The key is not looked up here."""
    for name in (*_REQUIRED, METADATA, SANDBOX):
        if len(headers.getall(name, [])) > 1:
            return ambiguous_header(name)
    customer_id, user_id, feature_id, key = (headers.get(name, "").strip() for name in _REQUIRED)
    if not (customer_id and user_id and feature_id and key):
        return missing_billing_headers()
    for name, value in ((CUSTOMER_ID, customer_id), (USER_ID, user_id), (FEATURE_ID, feature_id)):
        if not _is_id(value):
            return invalid_header(name)
    if len(key) > KEY_MAX or not (key.isascii() and key.isprintable()) or " " in key:
        return invalid_api_key()
    return Attribution(
        api_key=Secret(key),
        customer_id=customer_id,
        user_id=user_id,
        feature_id=feature_id,
        metadata=_metadata(headers.get(METADATA, "")),
        sandbox=headers.get(SANDBOX, "").strip().lower() == "true" or key.startswith(_TEST_KEY),
    )


def _is_id(value: str) -> bool:
    # Bytes that were no UTF-8 arrive as lone surrogates, which are not printable.
    return len(value) <= ID_MAX and value.isprintable()


def _metadata(text: str) -> bytes | None:
    """Read the optional metadata; what is no JSON object, or too long, is ignored as published."""
    # A header that was no UTF-8 holds surrogates, which no encoder takes.
    raw = text.encode(errors="replace")
    if not raw or len(raw) > METADATA_MAX_BYTES:
        return None
    parsed = parse_object(raw)
    return orjson.dumps(parsed) if parsed is not None else None
