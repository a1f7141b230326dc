"""JSON answers."""

from collections.abc import Mapping
from decimal import Decimal

import orjson
from starlette.responses import Response

JSON_TYPE = "application/json; charset=utf-8"


def json_response(
    status: int, body: Mapping[str, object], *, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer with a JSON body. A Decimal becomes an exact JSON number, which a float would not be."""
    content = orjson.dumps(body, default=_exact_number)
    return Response(content, status, headers=dict(headers or {}), media_type=JSON_TYPE)


def _exact_number(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(format(value, "f"))
    raise TypeError(f"{type(value).__name__} has no JSON form")
