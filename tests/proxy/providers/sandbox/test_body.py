from __future__ import annotations

import pytest

from om_proxy.providers.sandbox.body import Body, all_text, count_characters, first_tool, read_body
from om_proxy.providers.sandbox.exchange import Incoming, Problem, Refused

MALFORMED = Problem(400, "not JSON")


@pytest.mark.parametrize(
    ("node", "characters"),
    [
        (None, 0),
        ("four", 4),
        (["ab", "c"], 3),
        ([{"role": "user", "content": "hello"}], 5),
        ([{"role": "user", "content": [{"type": "text", "text": "ab"}, {"type": "text", "text": "c"}]}], 3),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:..."}}]}], 340),
        ([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "42"}]}], 2),
        ([{"role": "user", "parts": [{"text": "ab"}, {"inlineData": {"data": "AAAA"}}]}], 342),
        ({"parts": [{"text": "système"}]}, 7),
    ],
)
def test_text_is_counted_wherever_a_provider_puts_it(node: object, characters: int) -> None:
    assert count_characters(node) == characters


def test_text_is_counted_at_any_depth() -> None:
    node: object = "deep"
    for _ in range(10_000):
        node = {"content": [node]}

    assert count_characters(node) == 4


def test_all_text_is_joined_in_its_order() -> None:
    node = [{"content": [{"text": "a"}, {"text": "b"}]}, {"content": "c"}]

    assert all_text(node) == "abc"


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": {"name": "look"}},
        {"type": "function", "name": "look"},
        {"name": "look", "input_schema": {}},
        {"functionDeclarations": [{"name": "look"}]},
    ],
)
def test_a_tool_is_found_in_every_provider_s_form(tool: object) -> None:
    assert first_tool(Body({"tools": [{"type": "web_search"}, tool]})) == "look"
    assert first_tool(Body({})) is None


def test_absent_and_null_fields_read_alike() -> None:
    for body in (Body({}), Body(dict.fromkeys(("text", "integer", "flag", "section", "items")))):
        assert body.text("text") is None
        assert body.integer("integer") is None
        assert body.flag("flag") is False
        assert body.section("section") == Body({})
        assert body.items("items") is None


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        ("text", 1),
        ("integer", "1"),
        ("integer", True),
        ("integer", -1),
        ("integer", 1.0),
        ("flag", 1),
        ("section", []),
        ("items", {}),
    ],
)
def test_a_field_of_the_wrong_type_is_refused_by_name(reader: str, value: object) -> None:
    with pytest.raises(Refused) as refusal:
        getattr(Body({"colour": value}), reader)("colour")

    assert refusal.value.problem.status == 400
    assert refusal.value.problem.param == "colour"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"text"', b"null", b'{"a": \xff}'])
def test_what_is_not_a_json_object_is_malformed(raw: bytes) -> None:
    with pytest.raises(Refused) as refusal:
        read_body(Incoming("POST", "/", {}, {}, raw), MALFORMED)

    assert refusal.value.problem is MALFORMED
