from __future__ import annotations

from collections.abc import Iterable

import pytest
from multidict import CIMultiDict

from om_proxy.secret import Credential, Secret
from om_proxy.upstream.headers import (
    HeaderList,
    RawHeaders,
    readable_codings,
    request_headers,
    response_headers,
    unforwardable,
)

KEY = Credential("x-api-key", Secret("sk-ant-1"))


def raw(headers: Iterable[tuple[str, str]]) -> RawHeaders:
    return [(name.encode(), value.encode()) for name, value in headers]


def text(headers: RawHeaders) -> HeaderList:
    return [(name.decode(), value.decode()) for name, value in headers]


def sent(
    *headers: tuple[str, str], identity: bool = False, defaults: tuple[tuple[str, str], ...] = ()
) -> HeaderList:
    return text(request_headers(raw(headers), KEY, identity=identity, defaults=defaults))


def returned(*headers: tuple[str, str], body_changed: bool = False) -> HeaderList:
    return text(response_headers(raw(headers), body_changed=body_changed))


def test_a_request_keeps_what_the_provider_reads() -> None:
    headers = [
        ("Content-Type", "multipart/form-data; boundary=AbC"),
        ("Accept", "application/json"),
        ("User-Agent", "Anthropic/Python 2.11.0"),
        ("anthropic-version", "2026-10-21"),
        ("anthropic-beta", "a,b"),
        ("anthropic-beta", "c"),
        ("X-Stainless-Retry-Count", "0"),
        ("x-goog-api-client", "google-genai-sdk/3.4.0"),
        ("OpenAI-Organization", "org"),
        ("traceparent", "00-1-2-01"),
    ]

    assert sent(*headers) == [*headers, ("x-api-key", "sk-ant-1")]


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "Content-Length",
        "Expect",
        "Connection",
        "Keep-Alive",
        "Proxy-Authorization",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "X-OM-Api-Key",
        "x-om-anything",
        "X-Sandbox",
        "X-Provider-Key",
        "X-Forwarded-For",
        "Forwarded",
        "Via",
        "CF-Connecting-IP",
        "X-Real-IP",
        "Cookie",
        "Authorization",
        "x-goog-api-key",
        "api-key",
        "Access-Control-Request-Method",
    ],
)
def test_a_request_loses_what_is_ours_or_of_this_hop(name: str) -> None:
    assert sent((name, "v"), (name.upper(), "w")) == [("x-api-key", "sk-ant-1")]


def test_connection_names_more_headers_to_drop_but_cannot_drop_the_key() -> None:
    headers = sent(
        ("Connection", "close, X-Hop"), ("connection", "x-api-key"), ("X-Hop", "1"), ("X-Kept", "2")
    )

    assert headers == [("X-Kept", "2"), ("x-api-key", "sk-ant-1")]


def test_the_key_replaces_every_header_that_looks_like_one() -> None:
    assert sent(("X-Api-Key", "sk-ant-1"), ("Authorization", "Bearer other")) == [("x-api-key", "sk-ant-1")]


def test_a_default_is_added_only_where_the_client_says_nothing() -> None:
    defaults = (("anthropic-version", "2023-06-01"),)
    present = ("Anthropic-Version", "2026-10-21")

    assert sent(defaults=defaults) == [("x-api-key", "sk-ant-1"), *defaults]
    assert sent(present, defaults=defaults) == [present, ("x-api-key", "sk-ant-1")]


@pytest.mark.parametrize(
    ("accepted", "offered"),
    [
        ([], None),
        (["gzip, deflate"], "gzip, deflate"),
        (["gzip, deflate, br, zstd"], "gzip, deflate, br, zstd"),
        (["dcb, gzip;q=0.8, deflate"], "gzip;q=0.8, deflate"),
        (["GZIP", "dcz"], "GZIP"),
        (["compress"], "identity"),
        (["*"], "identity"),
        (["identity"], "identity"),
    ],
)
def test_only_codings_that_can_be_metered_are_offered(accepted: list[str], offered: str | None) -> None:
    assert readable_codings(tuple(line.encode() for line in accepted)) == offered
    named = [
        value
        for name, value in sent(*(("Accept-Encoding", line) for line in accepted))
        if name != "x-api-key"
    ]
    assert named == ([] if offered is None else [offered])


def test_an_answer_that_gets_edited_is_asked_for_without_coding() -> None:
    assert ("Accept-Encoding", "identity") in sent(("Accept-Encoding", "gzip"), identity=True)


def test_a_response_comes_back_with_what_clients_read() -> None:
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", "12"),
        ("Content-Encoding", "gzip"),
        ("retry-after", "3"),
        ("retry-after-ms", "2500"),
        ("x-should-retry", "true"),
        ("x-ratelimit-remaining-requests", "9"),
        ("anthropic-ratelimit-tokens-reset", "2026-11-21T00:00:00Z"),
        ("x-request-id", "a"),
        ("request-id", "b"),
        ("openai-processing-ms", "7"),
        ("Vary", "Origin"),
        ("Vary", "X-Origin"),
    ]

    assert returned(*headers) == headers


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "Keep-Alive",
        "Transfer-Encoding",
        "Trailer",
        "Upgrade",
        "Alt-Svc",
        "Set-Cookie",
        "Access-Control-Allow-Origin",
        "access-control-expose-headers",
        "Proxy-Authenticate",
    ],
)
def test_a_response_loses_what_is_of_the_other_hop(name: str) -> None:
    assert returned((name, "v"), (name.upper(), "w"), ("X-Kept", "1")) == [("X-Kept", "1")]


def test_the_length_goes_where_the_bytes_changed() -> None:
    assert returned(("Content-Length", "12"), ("X-Kept", "1"), body_changed=True) == [("X-Kept", "1")]


def test_bytes_that_are_no_text_pass_as_they_are() -> None:
    odd = [(b"X-Odd", b"caf\xe9")]

    assert response_headers(odd) == odd
    assert request_headers(odd, KEY) == [*odd, (b"x-api-key", b"sk-ant-1")]


@pytest.mark.parametrize("value", ["é", "\udcff", "a\x00b", "a\rb", "a\nb", "\x7f"])
def test_a_value_that_cannot_be_sent_on_is_named_by_its_header(value: str) -> None:
    assert unforwardable(CIMultiDict([("Accept", "*/*"), ("X-Odd", value)])) == "X-Odd"


def test_tabs_and_our_own_headers_are_no_obstacle() -> None:
    assert unforwardable(CIMultiDict([("X-Tab", "a\tb"), ("X-OM-User-Id", "josé")])) is None
