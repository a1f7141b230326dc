"""What a refusal looks like in each of the two families, more exactly than the document has to say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openapi_schema_validator import OAS30Validator

if TYPE_CHECKING:
    from collections.abc import Mapping

TRANSCODED = "/api/v1/"

_TEXT = {"type": "string"}
_WORD = {"type": "string", "pattern": "^[A-Z][A-Z_]+$"}
_SENTENCE = {"type": "string", "minLength": 1}
_FIELD = {
    "type": "object",
    "required": ["field", "message", "rule"],
    "properties": {"field": _TEXT, "message": _SENTENCE, "rule": _TEXT},
    "additionalProperties": False,
}
_PROBLEM = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "reason", "message", "metadata", "fields", "requestId"],
            "additionalProperties": False,
            "properties": {
                "code": _WORD,
                "reason": _WORD,
                "message": _SENTENCE,
                "metadata": {"type": "object", "additionalProperties": _TEXT},
                "fields": {"type": "array", "items": _FIELD},
                "requestId": _SENTENCE,
            },
        }
    },
}
_PUBLISHED = {
    "type": "object",
    "required": ["error", "message"],
    "additionalProperties": False,
    "properties": {
        "error": _SENTENCE,
        "message": _SENTENCE,
        "statusCode": {"type": "integer"},
        "code": {"type": "string", "pattern": "^FST_ERR_[A-Z_]+$"},
    },
}
#: The refusal of a whole batch also has what its answer would have had: a result for each event.
_BATCH = {**_PUBLISHED, "additionalProperties": True}
#: Published as 200 and 503 of one shape, which is no error's.
_READINESS = ("/ready", "/health/ready")


def check_refusal(path: str, status: int, *, body: Any, headers: Mapping[str, str]) -> None:
    """Fail if this answer to a refused request has not the shape of its family."""
    if status < 400 or path in _READINESS:
        return
    assert headers["content-type"] == "application/json; charset=utf-8"
    if path.startswith(TRANSCODED):
        OAS30Validator(_PROBLEM).validate(body)
        assert body["error"]["requestId"] == headers["x-request-id"]
        return
    OAS30Validator(_BATCH if "results" in body else _PUBLISHED).validate(body)
    assert body.get("statusCode", status) == status
