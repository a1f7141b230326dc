from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from om_proxy.call.route import RouteTable, Target
from om_proxy.dialects.aipromptcost import AiPromptCost, provider_path
from om_proxy.dialects.attribution import Attribution
from om_proxy.dialects.dialect import Asked
from om_proxy.refusals.problem import (
    ambiguous_header,
    invalid_api_key,
    invalid_field,
    invalid_header,
    missing_platform_key,
    missing_provider_header,
)
from om_proxy.refusals.refusal import Form, Problem
from om_proxy.secret import Credential, Secret
from tests.proxy.exchange import provider_named

DIALECT = AiPromptCost()
HEADERS = {"Authorization": "Bearer om_live_key", "X-Provider-Key": "sk-user"}
WHO = Attribution(Secret("om_live_key"), "", "", "", prompt_key="unknown")
TOLD = {"prompt_key": "document-summarizer", "feature_tags": ["summarization", "documents"], "version": 2}


def target(path: str = "/v1/chat/completions", method: str = "POST") -> Target:
    providers = [provider_named(name) for name in ("openai", "anthropic", "google")]
    found = RouteTable(route for provider in providers for route in provider.routes).match(method, path)
    assert found is not None
    return found


def read(extra: dict[str, str] | None = None, *more: tuple[str, str]) -> Attribution | Problem:
    return DIALECT.attribution(CIMultiDict([*(HEADERS | (extra or {})).items(), *more]))


def asked(body: bytes, path: str = "/v1/chat/completions", who: Attribution = WHO) -> Asked | Problem:
    return DIALECT.asked(target(path), body, who)


def told(value: object, who: Attribution = WHO) -> Attribution | Problem:
    answer = asked(orjson.dumps({"model": "m", "messages": [], "_aipromptcost": value}), who=who)
    return answer.who if isinstance(answer, Asked) else answer


@pytest.mark.acceptance("B-135", "B-146")
def test_the_bearer_token_is_the_platform_key() -> None:
    assert read() == WHO


@pytest.mark.acceptance("B-166")
@pytest.mark.parametrize(
    "value", ["", "om_live_key", "Basic b20=", "Bearer", "Bearer ", "Token om_live_key", "Bearerom_live_key"]
)
def test_any_other_authorization_is_refused(value: str) -> None:
    refused = read({"Authorization": value})

    assert refused == missing_platform_key()
    assert isinstance(refused, Problem)
    assert (refused.status, refused.retry) == (401, False)


@pytest.mark.acceptance("B-166")
def test_without_authorization_the_answer_is_the_same() -> None:
    assert DIALECT.attribution(CIMultiDict({"X-Provider-Key": "sk"})) == missing_platform_key()


@pytest.mark.parametrize("key", ["x" * 256, "om key", "om_kéy"])
def test_a_malformed_platform_key_is_an_invalid_one(key: str) -> None:
    assert read({"Authorization": f"Bearer {key}"}) == invalid_api_key()


@pytest.mark.parametrize("name", ["Authorization", "X-Provider-Key"])
def test_a_key_that_comes_twice_is_ambiguous(name: str) -> None:
    assert read(None, (name.lower(), HEADERS[name])) == ambiguous_header(name)


@pytest.mark.parametrize(
    "name", ["X-OM-Customer-Id", "X-OM-Prompt-Key", "X-OM-Tags", "X-OM-Metadata", "X-Sandbox"]
)
def test_a_label_that_comes_twice_is_ambiguous(name: str) -> None:
    assert read({name: "1"}, (name.lower(), "1")) == ambiguous_header(name)


def test_the_other_dialects_labels_may_be_said_too() -> None:
    who = read(
        {
            "X-OM-Customer-Id": "acme",
            "X-OM-User-Id": "user_1",
            "X-OM-Feature-Id": "chat",
            "X-OM-Metadata": '{"a":1}',
            "X-OM-Prompt-Key": "greeting",
            "X-OM-Prompt-Version": "7",
            "X-OM-Tags": "a, b",
        }
    )

    assert who == Attribution(
        Secret("om_live_key"),
        "acme",
        "user_1",
        "chat",
        metadata=b'{"a":1}',
        tags=("a", "b"),
        prompt_key="greeting",
        prompt_version=7,
    )


def test_an_x_om_api_key_says_nothing_here() -> None:
    assert read({"X-OM-Api-Key": "om_live_other"}) == WHO


@pytest.mark.acceptance("B-142")
@pytest.mark.parametrize(
    ("extra", "sandbox"),
    [
        ({}, False),
        ({"X-Sandbox": "true"}, True),
        ({"X-Sandbox": "yes"}, False),
        ({"Authorization": "Bearer om_test_x"}, True),
    ],
)
def test_the_simulator_answers_where_it_is_asked_for(extra: dict[str, str], *, sandbox: bool) -> None:
    who = read(extra)

    assert isinstance(who, Attribution)
    assert who.sandbox is sandbox


CREDENTIALS = {
    "openai": Credential("Authorization", Secret("Bearer sk-user")),
    "anthropic": Credential("x-api-key", Secret("sk-user")),
    "google": Credential("x-goog-api-key", Secret("sk-user")),
}


@pytest.mark.acceptance("B-136", "B-137", "B-160")
@pytest.mark.parametrize("name", CREDENTIALS)
@pytest.mark.parametrize("value", ["sk-user", " sk-user", "sk-user\t", "  sk-user  "])
def test_the_provider_key_goes_where_the_provider_wants_it(name: str, value: str) -> None:
    headers = CIMultiDict(HEADERS | {"X-Provider-Key": value, "x-api-key": "sk-of-the-sdk"})

    assert DIALECT.credential(provider_named(name), headers, "key=in-the-query") == CREDENTIALS[name]


@pytest.mark.acceptance("B-172")
def test_white_space_within_a_provider_key_is_the_providers_to_refuse() -> None:
    headers = CIMultiDict(HEADERS | {"X-Provider-Key": "sk-us er"})
    credential = DIALECT.credential(provider_named("openai"), headers, "")

    assert credential == Credential("Authorization", Secret("Bearer sk-us er"))


@pytest.mark.acceptance("B-165")
@pytest.mark.parametrize("name", CREDENTIALS)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_provider_key_is_refused_whatever_else_looks_like_one(name: str, value: str | None) -> None:
    headers = CIMultiDict({"Authorization": "Bearer om_live_key", "x-api-key": "k", "x-goog-api-key": "k"})
    if value is not None:
        headers["X-Provider-Key"] = value
    refused = DIALECT.credential(provider_named(name), headers, "key=k")

    assert refused == missing_provider_header()
    assert isinstance(refused, Problem)
    assert refused.status == 401


@pytest.mark.acceptance("B-151", "B-152", "B-153", "B-154", "B-155", "B-160")
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_the_object_is_read_and_taken_out(path: str) -> None:
    body = b'{"model":"m", "messages": [], "_aipromptcost": ' + orjson.dumps(TOLD) + b"}"

    assert asked(body, path) == Asked(
        b'{"model":"m", "messages": [] }',
        replace(WHO, prompt_key="document-summarizer", prompt_version=2, tags=("summarization", "documents")),
    )


@pytest.mark.acceptance("B-152")
@pytest.mark.parametrize(
    ("body", "upstream"),
    [
        ('{"_aipromptcost":{"version":2},"messages":[]}', '{"messages":[]}'),
        ('{"messages":[],"_aipromptcost":{"version":2}}', '{"messages":[]}'),
        ('{"messages":[] , "_aipromptcost" : {"version":2} , "n":1e0}', '{"messages":[] ,   "n":1e0}'),
        ('{"_aipromptcos\\u0074":{"version":2},"messages":[]}', '{"messages":[]}'),
        ('{"\\u005faipromptcost":{"version":2},"messages":["\\u2028"]}', '{"messages":["\\u2028"]}'),
        ('{"_aipromptcost":{"version":9},"messages":[],"_aipromptcost":{"version":2}}', '{"messages":[]}'),
        (
            '{"messages":[{"_aipromptcost":{"version":1}},"_aipromptcost"],"_aipromptcost":{"version":2}}',
            '{"messages":[{"_aipromptcost":{"version":1}},"_aipromptcost"]}',
        ),
    ],
)
def test_it_is_taken_out_wherever_it_stands(body: str, upstream: str) -> None:
    answer = asked(body.encode())

    assert isinstance(answer, Asked)
    assert answer.body == upstream.encode()
    assert answer.who.prompt_version == 2


def test_it_may_stand_alone() -> None:
    path = "/v1beta/models/gemini-2.5-flash:generateContent"
    answer = asked(b'{"_aipromptcost":{"version":2}}', path)

    assert isinstance(answer, Asked)
    assert (answer.body, answer.who.prompt_version) == (b"{}", 2)


@pytest.mark.parametrize(
    "body",
    [
        b' {"model" : "m","messages":[1.0, 12345678901234567890123] , "x":"\\u2028"}\n',
        b'{"messages":[{"_aipromptcost":{"prompt_key":"no"}}]}',
        b'{"messages":"\\"_aipromptcost\\":{}"}',
        b'{"messages":[],"_AIPROMPTCOST":{}}',
        b'{"messages":[],"_aipromptcost ":{}}',
    ],
)
@pytest.mark.acceptance("B-132", "B-157")
def test_a_body_without_it_is_the_same_bytes_and_its_prompt_is_unknown(body: bytes) -> None:
    answer = asked(body)

    assert answer == Asked(body, WHO)
    assert WHO.prompt_key == "unknown"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"--x\r\n_aipromptcost\r\n--x--", b'{"a":\xff}'])
def test_what_is_no_json_object_is_left_to_the_reader(body: bytes) -> None:
    assert asked(body) == Asked(body, WHO)


@pytest.mark.acceptance("B-167")
@pytest.mark.parametrize(
    ("value", "field"),
    [
        ([], "_aipromptcost"),
        ("document-summarizer", "_aipromptcost"),
        (1, "_aipromptcost"),
        ({"prompt_key": 7}, "_aipromptcost.prompt_key"),
        ({"prompt_key": ["a"]}, "_aipromptcost.prompt_key"),
        ({"prompt_key": "x" * 256}, "_aipromptcost.prompt_key"),
        ({"prompt_key": "a\x00b"}, "_aipromptcost.prompt_key"),
        ({"version": "2"}, "_aipromptcost.version"),
        ({"version": 2.0}, "_aipromptcost.version"),
        ({"version": True}, "_aipromptcost.version"),
        ({"version": -1}, "_aipromptcost.version"),
        ({"version": 2**31}, "_aipromptcost.version"),
        ({"feature_tags": "a"}, "_aipromptcost.feature_tags"),
        ({"feature_tags": {"a": 1}}, "_aipromptcost.feature_tags"),
        ({"feature_tags": ["a", 1]}, "_aipromptcost.feature_tags"),
        ({"feature_tags": [""]}, "_aipromptcost.feature_tags"),
        ({"feature_tags": ["x" * 256]}, "_aipromptcost.feature_tags"),
        ({"feature_tags": [str(number) for number in range(65)]}, "_aipromptcost.feature_tags"),
    ],
)
def test_a_malformed_object_is_refused_and_the_member_named(value: object, field: str) -> None:
    refused = told(value)

    assert refused == invalid_field(field)
    assert isinstance(refused, Problem)
    assert refused.status == 400


@pytest.mark.parametrize(
    "value",
    [None, {}, {"prompt_key": None, "feature_tags": None, "version": None}, {"prompt_key": " "}, {"x": 1}],
)
def test_what_says_nothing_is_as_if_it_were_not_there(value: object) -> None:
    assert told(value) == WHO


@pytest.mark.acceptance("B-155")
def test_any_version_is_taken_as_it_is() -> None:
    who = told({"version": 2**31 - 1})

    assert isinstance(who, Attribution)
    assert (who.prompt_key, who.prompt_version) == ("unknown", 2**31 - 1)


@pytest.mark.acceptance("B-154")
def test_a_tag_counts_once() -> None:
    who = told({"feature_tags": ["b", " a ", "b", "a"]})

    assert isinstance(who, Attribution)
    assert who.tags == ("b", "a")


def test_the_body_is_nearer_than_the_headers_member_by_member() -> None:
    headers = replace(WHO, prompt_key="by-header", prompt_version=1, tags=("h",))

    assert told({"prompt_key": "by-body"}, headers) == replace(headers, prompt_key="by-body")
    assert told({"version": 0}, headers) == replace(headers, prompt_version=0)
    assert told({"feature_tags": []}, headers) == replace(headers, tags=())


@pytest.mark.acceptance("B-168")
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_conversation_needs_its_messages(path: str) -> None:
    assert asked(b'{"model":"m"}', path) == invalid_field("messages")


NAMES = st.sampled_from(["model", "messages", "_aipromptcost", "_aipromptcost_", "é", "x"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@given(
    document=st.dictionaries(NAMES, VALUES, max_size=5),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
def test_the_provider_gets_everything_else(
    document: dict[str, Any], *, ascii_only: bool, indent: int | None
) -> None:
    document = {"messages": [], **document}
    if "_aipromptcost" in document:
        document["_aipromptcost"] = TOLD
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode(errors="replace")
    answer = asked(body)

    assert isinstance(answer, Asked)
    rest = {name: value for name, value in document.items() if name != "_aipromptcost"}
    assert json.loads(answer.body) == json.loads(json.dumps(rest).encode(errors="replace"))
    if "_aipromptcost" not in document:
        assert answer.body == body


def test_published_bodies_of_the_other_dialect_are_said_richly() -> None:
    assert DIALECT.worded(invalid_api_key()) == replace(invalid_api_key(), form=Form.RICH)
    assert DIALECT.worded(invalid_header("x")) == invalid_header("x")


@pytest.mark.parametrize(
    ("name", "path", "own"),
    [
        ("openai", "/api/proxy/v1/openai/chat/completions", "/v1/chat/completions"),
        ("openai", "/api/proxy/v1/openai/v1/chat/completions", "/v1/chat/completions"),
        ("google", "/api/proxy/v1/gemini/models/m:x", "/v1beta/models/m:x"),
        ("google", "/api/proxy/v1/gemini/v1/models/m:x", "/v1/models/m:x"),
        ("google", "/api/proxy/v1/geminis/models/m:x", None),
        ("openai", "/api/proxy/v2/openai/chat/completions", None),
    ],
)
def test_a_path_is_read_as_the_provider_would_write_it(name: str, path: str, own: str | None) -> None:
    assert provider_path(provider_named(name), path) == own
