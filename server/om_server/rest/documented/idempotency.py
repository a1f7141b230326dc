"""Under which key a documented write is idempotent."""

import uuid

from om_server.rest.documented.json_body import JsonBody
from om_server.rest.request import Request


def promised_key(request: Request, body: JsonBody) -> str:
    """The header Idempotency-Key, else the body's idempotencyKey; a fresh one where none was promised."""
    return request.idempotency_key or body.text("idempotencyKey") or uuid.uuid4().hex
