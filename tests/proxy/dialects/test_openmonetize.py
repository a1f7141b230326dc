from __future__ import annotations

import orjson
import pytest
from multidict import CIMultiDict

from om_proxy.dialects.attribution import Attribution
from om_proxy.dialects.openmonetize import attribution, provider_asked
from om_proxy.refusals.problem import (
    ambiguous_header,
    invalid_api_key,
    invalid_header,
    missing_billing_headers,
)
from om_proxy.refusals.refusal import Problem
from om_proxy.secret import Secret

REQUIRED = {
    "X-OM-Customer-Id": "cust_your-company",
    "X-OM-User-Id": "user_current-user",
    "X-OM-Feature-Id": "ai-chat",
    "X-OM-Api-Key": "om_dev_test_key",
}


def read(extra: dict[str, str] | None = None, *more: tuple[str, str]) -> Attribution | Problem:
    return attribution(CIMultiDict([*(REQUIRED | (extra or {})).items(), *more]))


def accepted(extra: dict[str, str] | None = None) -> Attribution:
    answer = read(extra)
    assert isinstance(answer, Attribution)
    return answer


@pytest.mark.acceptance("B-010", "B-011", "B-012", "B-013", "B-019")
def test_the_four_headers_say_who_asks() -> None:
    assert accepted() == Attribution(
        Secret("om_dev_test_key"), "cust_your-company", "user_current-user", "ai-chat"
    )


def test_names_of_headers_ignore_case() -> None:
    assert isinstance(
        attribution(CIMultiDict((name.lower(), value) for name, value in REQUIRED.items())), Attribution
    )


@pytest.mark.acceptance("B-036", "B-037", "B-038")
@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_any_missing_header_is_the_one_published_answer(name: str, value: str | None) -> None:
    headers = CIMultiDict(REQUIRED)
    del headers[name]
    if value is not None:
        headers[name] = value

    assert attribution(headers) == missing_billing_headers()


OPTIONAL = (
    "X-OM-Metadata",
    "X-OM-Prompt-Key",
    "X-OM-Prompt-Version",
    "X-OM-Tags",
    "X-OM-Include-Cost",
    "X-OM-Clamp-Output",
    "X-Sandbox",
)


@pytest.mark.parametrize("name", [*REQUIRED, *OPTIONAL])
def test_a_header_that_occurs_twice_is_ambiguous(name: str) -> None:
    value = REQUIRED.get(name, "true")

    assert read(None, *[(name.lower(), value)] * (1 if name in REQUIRED else 2)) == ambiguous_header(name)


@pytest.mark.parametrize("name", ["X-OM-Customer-Id", "X-OM-User-Id", "X-OM-Feature-Id"])
@pytest.mark.parametrize("value", ["x" * 256, "a\x00b", "a\tb", "a\x85b", "\udcff\udcfe"])
def test_an_id_that_cannot_be_stored_is_refused_without_being_repeated(name: str, value: str) -> None:
    refused = read({name: value})

    assert refused == invalid_header(name)
    assert isinstance(refused, Problem)
    assert value not in repr(refused)


@pytest.mark.acceptance("B-019")
@pytest.mark.parametrize("value", ["x" * 255, "with space", "josé", "用户", "a/b:c@d"])
def test_ids_are_free_form(value: str) -> None:
    assert accepted({"X-OM-User-Id": value}).user_id == value


@pytest.mark.acceptance("B-040")
@pytest.mark.parametrize("key", ["x" * 256, "om key", "om_kéy", "om\x00key"])
def test_a_malformed_key_is_an_invalid_one(key: str) -> None:
    assert read({"X-OM-Api-Key": key}) == invalid_api_key()


def test_the_key_is_not_shown() -> None:
    assert "om_dev_test_key" not in repr(accepted())


@pytest.mark.acceptance("B-014")
def test_metadata_is_a_compact_object() -> None:
    metadata = accepted({"X-OM-Metadata": '{ "run": 7, "name": "josé" }'}).metadata

    assert metadata is not None
    assert orjson.loads(metadata) == {"run": 7, "name": "josé"}
    assert b" " not in metadata


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "7", "null", "{'a':1}", '{"a":"' + "x" * 4_096 + '"}', '{"\udcff":1']
)
def test_metadata_that_is_no_small_object_is_ignored(text: str) -> None:
    assert accepted({"X-OM-Metadata": text}).metadata is None


@pytest.mark.parametrize(
    ("extra", "sandbox"),
    [
        ({}, False),
        ({"X-Sandbox": "true"}, True),
        ({"X-Sandbox": " TRUE "}, True),
        ({"X-Sandbox": "1"}, False),
        ({"X-Sandbox": "false"}, False),
        ({"X-OM-Api-Key": "om_test_abc"}, True),
        ({"X-OM-Api-Key": "om_dev_test_key"}, False),
    ],
)
def test_the_simulator_answers_where_it_is_asked_for_or_the_key_is_a_test_key(
    extra: dict[str, str], *, sandbox: bool
) -> None:
    assert accepted(extra).sandbox is sandbox


def test_prompt_version_and_tags_can_be_said_in_headers() -> None:
    who = accepted(
        {
            "X-OM-Prompt-Key": " document-summarizer ",
            "X-OM-Prompt-Version": "2",
            "X-OM-Tags": "summarization,, documents , summarization,",
        }
    )

    assert (who.prompt_key, who.prompt_version) == ("document-summarizer", 2)
    assert who.tags == ("summarization", "documents")


def test_without_them_nothing_is_made_up() -> None:
    who = accepted({"X-OM-Prompt-Key": "", "X-OM-Prompt-Version": " ", "X-OM-Tags": " , "})

    assert (who.prompt_key, who.prompt_version, who.tags) == ("", None, ())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-OM-Prompt-Key", "x" * 256),
        ("X-OM-Prompt-Key", "a\x00b"),
        ("X-OM-Prompt-Version", "two"),
        ("X-OM-Prompt-Version", "-1"),
        ("X-OM-Prompt-Version", "2.0"),
        ("X-OM-Prompt-Version", "\uff12"),
        ("X-OM-Prompt-Version", str(2**31)),
        ("X-OM-Prompt-Version", "9" * 5_000),
        ("X-OM-Tags", "a," + "x" * 256),
        ("X-OM-Tags", "a\tb"),
        ("X-OM-Tags", ",".join(str(number) for number in range(65))),
    ],
)
def test_a_label_that_cannot_be_stored_is_refused(name: str, value: str) -> None:
    assert read({name: value}) == invalid_header(name)


@pytest.mark.parametrize(("value", "on"), [("true", True), (" True", True), ("1", False), ("", False)])
def test_what_is_asked_of_us_is_asked_by_saying_true(value: str, *, on: bool) -> None:
    who = accepted({"X-OM-Include-Cost": value, "X-OM-Clamp-Output": value})

    # What is not said is left to the key; what is said counts before it.
    assert (who.include_cost, who.clamp_output) == (on, on if value else None)


@pytest.mark.parametrize(
    ("headers", "query", "provider"),
    [
        ({}, "", ""),
        ({"anthropic-version": "2023-06-01"}, "", "anthropic"),
        ({"x-goog-api-key": "k"}, "", "google"),
        ({"X-Goog-Api-Client": "google-genai-sdk/3"}, "", "google"),
        ({"Authorization": "Bearer k"}, "alt=sse&key=k", "google"),
        ({}, "monkey=1&key=", ""),
    ],
)
def test_headers_tell_whose_a_shared_path_is(headers: dict[str, str], query: str, provider: str) -> None:
    assert provider_asked(CIMultiDict(headers), query) == provider
