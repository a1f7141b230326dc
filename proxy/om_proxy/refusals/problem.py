"""The designed list of what the proxy itself refuses or reports, with status, code and text of each."""

from __future__ import annotations

from om_proxy.refusals.refusal import Form, Problem, Shape, credits_text

RETRY_SOON_S = 1

_INVALID = "invalid_request_error"


def missing_billing_headers() -> Problem:
    """400: any of the four headers is absent. Published word for word."""
    return Problem(
        400,
        "missing_billing_headers",
        _INVALID,
        "INVALID_ARGUMENT",
        "Missing required OpenMonetize headers. Required: "
        "X-OM-Customer-Id, X-OM-User-Id, X-OM-Feature-Id, X-OM-Api-Key",
        form=Form.PUBLISHED,
    )


def invalid_api_key() -> Problem:
    """401: the platform key is malformed, unknown, revoked, or of another environment. Published."""
    return Problem(
        401,
        "invalid_api_key",
        "authentication_error",
        "UNAUTHENTICATED",
        "Invalid OpenMonetize API key",
        form=Form.PUBLISHED,
    )


def missing_provider_key(shape: Shape) -> Problem:
    """401: the request has no provider key. Published for each family."""
    text = {
        Shape.OPENAI: "Missing or invalid Authorization header. Expected: Bearer <OPENAI_API_KEY>",
        Shape.ANTHROPIC: "Missing x-api-key header. Expected: x-api-key: <ANTHROPIC_API_KEY>",
        Shape.GEMINI: "Missing API key. Expected: x-goog-api-key header or key query parameter",
    }
    return Problem(
        401, "missing_api_key", "authentication_error", "UNAUTHENTICATED", text[shape], form=Form.FAMILY
    )


def missing_platform_key() -> Problem:
    """401: the path-based dialect wants the platform key as a bearer token."""
    return Problem(
        401,
        "missing_platform_key",
        "authentication_error",
        "UNAUTHENTICATED",
        "Missing or invalid Authorization header. Expected: Bearer <platform API key>",
        param="Authorization",
    )


def missing_provider_header() -> Problem:
    """401: the path-based dialect wants the provider key in a header of its own."""
    return Problem(
        401,
        "missing_provider_key",
        "authentication_error",
        "UNAUTHENTICATED",
        "Missing X-Provider-Key header. Expected: X-Provider-Key: <provider API key>",
        param="X-Provider-Key",
    )


def upstream_timeout(shape: Shape, *, sent: bool = True) -> Problem:
    """504: the provider took too long. Only where nothing was sent may an SDK repeat the call."""
    whom = "upstream provider" if shape is Shape.OPENAI else shape.value
    return Problem(
        504,
        "upstream_timeout",
        "timeout_error",
        "DEADLINE_EXCEEDED",
        f"Request to {whom} timed out",
        form=Form.FAMILY,
        retry=not sent,
    )


def upstream_unreachable(shape: Shape, *, sent: bool) -> Problem:
    """502: no connection, or it broke. Only where nothing was sent may an SDK repeat the call."""
    whom = "upstream provider" if shape is Shape.OPENAI else shape.value
    return Problem(
        502,
        "upstream_unreachable",
        "connection_error",
        "UNAVAILABLE",
        f"Failed to connect to {whom}",
        form=Form.FAMILY,
        retry=not sent,
    )


def proxy_error() -> Problem:
    """500: a defect of ours."""
    return Problem(500, "proxy_error", "internal_error", "INTERNAL", "Internal proxy error", form=Form.FAMILY)


def insufficient_credits(
    *, needed_nanos: int, available_nanos: int, output_tokens_max: int | None = None
) -> Problem:
    """402: the wallet cannot pay. `output_tokens_max` is the largest cap that it could pay for."""
    needed, available = credits_text(needed_nanos), credits_text(available_nanos)
    message = f"Insufficient credits: this request needs up to {needed}, {available} are available."
    details = [("needed", needed), ("available", available)]
    if output_tokens_max is not None:
        message += f" A cap of {output_tokens_max} output tokens would be affordable."
        details.append(("output_tokens_max", str(output_tokens_max)))
    code = "insufficient_credits"
    return Problem(
        402,
        code,
        code,
        "RESOURCE_EXHAUSTED",
        message,
        details=tuple(details),
        output_tokens_max=output_tokens_max,
    )


def limit_reached(*, limit_id: str, window: str) -> Problem:
    """402: a hard limit would be passed."""
    code = "limit_reached"
    message = f"The limit {limit_id} ({window}) would be passed by this request."
    details = (("limit_id", limit_id), ("window", window))
    return Problem(402, code, code, "RESOURCE_EXHAUSTED", message, details=details)


def wallet_blocked() -> Problem:
    """402: the wallet that would pay is blocked."""
    code = "wallet_blocked"
    return Problem(402, code, code, "RESOURCE_EXHAUSTED", "The wallet that pays for this request is blocked.")


def user_wallet_required() -> Problem:
    """402: the organization lets only user wallets pay, and this user has none."""
    code = "user_wallet_required"
    return Problem(402, code, code, "RESOURCE_EXHAUSTED", "This user has no wallet, and one is required.")


def price_unknown(*, provider: str, model: str) -> Problem:
    """402: a strict wallet pays only for what has a price."""
    code = "price_unknown"
    message = f"The model {model} of {provider} has no price, so a prepaid wallet cannot pay for it."
    details = (("provider", provider), ("model", model))
    return Problem(402, code, code, "FAILED_PRECONDITION", message, param="model", details=details)


def cost_unbounded(field: str) -> Problem:
    """402: a strict wallet pays only for what has an upper bound, and this field leaves none."""
    code = "cost_unbounded"
    message = f"The cost of this request has no upper bound because of {field}."
    return Problem(402, code, code, "FAILED_PRECONDITION", message, param=field, details=(("field", field),))


def invalid_json() -> Problem:
    """400: the body is not a JSON object."""
    return _invalid("invalid_json", "The request body is not a JSON object.")


def invalid_field(field: str) -> Problem:
    """400: a field that the proxy needs is missing or of the wrong type."""
    return _invalid("invalid_field", f"The field {field} is missing or invalid.", param=field)


def invalid_header(name: str) -> Problem:
    """400: a header of ours is too long or has characters that it must not have."""
    return _invalid("invalid_header", f"The header {name} is invalid.", param=name)


def ambiguous_header(name: str) -> Problem:
    """400: a header that decides who pays, or with which key, occurs twice."""
    return _invalid("ambiguous_header", f"The header {name} occurs more than once.", param=name)


def misrouted(message: str) -> Problem:
    """400: the path belongs to a provider, and asks for what is not forwarded. Published for Gemini."""
    return Problem(400, "invalid_request", _INVALID, "INVALID_ARGUMENT", message, form=Form.FAMILY)


def unknown_route() -> Problem:
    """404: not on the list of routes."""
    message = "This route is not forwarded."
    return Problem(404, "unknown_route", "not_found_error", "NOT_FOUND", message)


def body_too_large(limit_bytes: int) -> Problem:
    """413: the body is over the limit."""
    message = f"The request body is larger than {limit_bytes} bytes."
    return Problem(413, "request_too_large", "request_too_large", "INVALID_ARGUMENT", message)


def encoded_body() -> Problem:
    """415: a compressed request body that we cannot read, or that would have to be edited."""
    message = "This request body cannot be accepted compressed."
    return Problem(415, "unsupported_encoding", _INVALID, "INVALID_ARGUMENT", message)


def request_timeout() -> Problem:
    """408: the rest of the body did not come. No SDK may repeat by itself what its caller does not finish."""
    message = "The request body did not arrive in time."
    return Problem(408, "request_timeout", "timeout_error", "DEADLINE_EXCEEDED", message)


def malformed_request() -> Problem:
    """400: not HTTP as we read it. Nothing of it is quoted, because any part of it can be a key."""
    return _invalid("malformed_request", "The request is not valid HTTP.")


def upgrade_refused() -> Problem:
    """400: WebSockets are not metered, so they are not forwarded."""
    return _invalid("upgrade_not_supported", "This proxy does not forward protocol upgrades.")


def unavailable(retry_after_s: int = RETRY_SOON_S) -> Problem:
    """503: the platform cannot decide right now; nothing was sent upstream, so a repeat is safe."""
    message = "The service is temporarily unavailable. Try again shortly."
    return Problem(
        503,
        "service_unavailable",
        "overloaded_error",
        "UNAVAILABLE",
        message,
        retry=True,
        retry_after_s=retry_after_s,
    )


def _invalid(code: str, message: str, *, param: str | None = None) -> Problem:
    return Problem(400, code, _INVALID, "INVALID_ARGUMENT", message, param=param)
