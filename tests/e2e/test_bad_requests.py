"""Requests that the proxy refuses before any provider sees them: each in the words that were published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import openai
import pytest
from google.genai import errors as genai_errors

from tests.e2e import official_clients
from tests.e2e.family import ANTHROPIC, FAMILIES, GEMINI, OPENAI, Family
from tests.e2e.installation import PROXY_BODY_BYTES_MAX
from tests.e2e.official_clients import Question
from tests.e2e.tenant import Funds, Tenant

if TYPE_CHECKING:
    from tests.e2e.installation import Installation

_GRANTED = 100 * 10**9
_UNKNOWN_KEY = "om_live_" + "0" * 64
_HEADERS = ("X-OM-Api-Key", "X-OM-Customer-Id", "X-OM-User-Id", "X-OM-Feature-Id")
_MISSING_HEADERS = (
    b'{"error":{"message":"Missing required OpenMonetize headers. Required: X-OM-Customer-Id, X-OM-User-Id, '
    b'X-OM-Feature-Id, X-OM-Api-Key","type":"invalid_request_error","code":"missing_billing_headers"}}'
)
_INVALID_KEY = (
    b'{"error":{"message":"Invalid OpenMonetize API key","type":"authentication_error",'
    b'"code":"invalid_api_key"}}'
)
_EACH_FAMILY = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.provider)


def _post(
    installation: Installation, family: Family, headers: dict[str, str], body: bytes | None = None
) -> httpx.Response:
    sent = {"Content-Type": "application/json", **family.credential(), **headers}
    content = family.body() if body is None else body
    return installation.web.post(
        f"{installation.addresses.proxy}{family.path}", content=content, headers=sent
    )


def _assert_untouched(tenant: Tenant) -> None:
    assert tenant.funds() == Funds(_GRANTED, 0)
    assert tenant.get("/v1/events")["pagination"]["total"] == 0


@_EACH_FAMILY
@pytest.mark.acceptance("B-039")
def test_an_unknown_key_is_refused_as_documented(installation: Installation, family: Family) -> None:
    tenant = installation.tenant("100")

    answer = _post(installation, family, tenant.billing(**{"X-OM-Api-Key": _UNKNOWN_KEY}))

    assert (answer.status_code, answer.content) == (401, _INVALID_KEY)
    assert answer.headers["x-should-retry"] == "false"
    _assert_untouched(tenant)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_every_official_client_takes_an_unknown_key_for_a_failed_authentication(
    installation: Installation, *, stream: bool
) -> None:
    proxy = installation.addresses.proxy
    headers = installation.tenant("100").billing(**{"X-OM-Api-Key": _UNKNOWN_KEY})

    def ask(client: official_clients.OfficialClient) -> None:
        client.ask(proxy, headers, Question(client.model, stream=stream))

    with pytest.raises(openai.AuthenticationError) as by_openai:
        ask(official_clients.OPENAI)
    with pytest.raises(anthropic.AuthenticationError):
        ask(official_clients.ANTHROPIC)
    with pytest.raises(genai_errors.ClientError) as by_gemini:
        ask(official_clients.GEMINI)

    assert by_openai.value.code == "invalid_api_key"
    assert "Invalid OpenMonetize API key" in str(by_gemini.value)


@_EACH_FAMILY
@pytest.mark.acceptance("B-036", "B-037", "B-038")
def test_each_missing_header_is_refused_with_the_documented_body(
    installation: Installation, family: Family
) -> None:
    tenant = installation.tenant("100")

    for missing in _HEADERS:
        absent = {name: value for name, value in tenant.billing().items() if name != missing}
        for headers in (absent, {**absent, missing: ""}):
            answer = _post(installation, family, headers)
            assert (answer.status_code, answer.content) == (400, _MISSING_HEADERS), missing
    _assert_untouched(tenant)


@_EACH_FAMILY
def test_malformed_json_is_refused_in_the_provider_s_own_shape(
    installation: Installation, family: Family
) -> None:
    tenant = installation.tenant("100")

    for body in (b"", b"{", b"[]", b'"text"', b'{"a": NaN}', b"\xff"):
        answer = _post(installation, family, tenant.billing(), body)
        assert answer.status_code == 400, body
        _assert_shape(family, answer.json(), status=400, code="invalid_json")
    _assert_untouched(tenant)


@_EACH_FAMILY
def test_a_body_over_the_limit_is_refused_in_the_provider_s_own_shape(
    installation: Installation, family: Family
) -> None:
    tenant = installation.tenant("100")
    frame = len(family.body(""))

    too_large = family.body("x" * (PROXY_BODY_BYTES_MAX - frame + 1))
    assert len(too_large) == PROXY_BODY_BYTES_MAX + 1
    answer = _post(installation, family, tenant.billing(), too_large)

    assert answer.status_code == 413
    _assert_shape(family, answer.json(), status=413, code="request_too_large")
    _assert_untouched(tenant)


def test_a_body_of_exactly_the_limit_is_taken(installation: Installation) -> None:
    tenant = installation.tenant("100000")
    frame = len(ANTHROPIC.body(""))

    largest = ANTHROPIC.body("x" * (PROXY_BODY_BYTES_MAX - frame))
    assert len(largest) == PROXY_BODY_BYTES_MAX
    answer = _post(installation, ANTHROPIC, tenant.billing(), largest)

    assert answer.status_code == 200
    tenant.event()


@pytest.mark.parametrize("path", ["/v1/events/ingest", "/api/v1/events"])
def test_a_report_over_the_limit_is_refused(installation: Installation, path: str) -> None:
    tenant = installation.tenant("100")
    limit = 10 * 1024 * 1024

    answer = installation.web.post(
        path, content=b" " * (limit + 1), headers={"Authorization": f"Bearer {tenant.key}"}
    )

    assert answer.status_code == 413
    _assert_untouched(tenant)


def _assert_shape(family: Family, body: Any, *, status: int, code: str) -> None:
    """Check the fields that this family's official client reads."""
    error = body["error"]
    assert isinstance(error["message"], str)
    if family is GEMINI:
        assert (error["code"], error["status"]) == (status, "INVALID_ARGUMENT")
        assert error["details"][0]["reason"] == code.upper()
    elif family is OPENAI:
        assert error["code"] == code
        assert {"type", "param"} <= error.keys()
    else:
        types = {400: "invalid_request_error", 413: "request_too_large"}
        assert (body["type"], error["type"]) == ("error", types[status])
