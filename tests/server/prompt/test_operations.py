"""Prompts and their versions on both databases."""

import pytest

from om_server.core.errors import (
    AlreadyExists,
    IdempotencyKeyReused,
    InvalidArgument,
    NotFound,
    PageTokenInvalid,
)
from om_server.core.page import PageRequest, encode_token
from om_server.prompt.version import Configuration, VersionRequest
from tests.server.prompt.desk import KEY, ORG, OTHER_ORG, SECOND, START, Desk

FULL = Configuration("gpt-4o", 0.7, 500, '{"owner":"docs"}')


@pytest.mark.acceptance("B-203")
def test_a_prompt_is_registered_before_it_is_used(desk: Desk) -> None:
    made = desk.prompts.create_prompt(ORG, KEY, description="Shortens contracts")

    assert desk.prompts.get_prompt(ORG, KEY) == made
    assert (made.description, made.auto_created, made.version_count) == ("Shortens contracts", False, 0)
    assert (made.active_version, made.create_time) == (None, START)


def test_a_key_is_taken_once_in_an_organization(desk: Desk) -> None:
    desk.prompts.create_prompt(ORG, KEY, description="first")

    with pytest.raises(AlreadyExists):
        desk.prompts.create_prompt(ORG, KEY, description="second")
    desk.prompts.create_prompt(OTHER_ORG, KEY)

    assert desk.prompts.get_prompt(ORG, KEY).description == "first"
    assert len(desk.records()) == 1


def test_a_prompt_is_described_anew(desk: Desk) -> None:
    desk.add(active=True)

    changed = desk.prompts.update_prompt(ORG, KEY, description="now described")

    assert desk.prompts.get_prompt(ORG, KEY) == changed
    assert (changed.description, changed.active_version, changed.version_count) == ("now described", 1, 1)


@pytest.mark.acceptance("B-205")
def test_a_version_keeps_what_it_was_given(desk: Desk) -> None:
    request = VersionRequest(KEY, FULL, "k")

    made = desk.prompts.create_version(ORG, request)

    (listed,) = desk.prompts.list_versions(ORG, KEY, PageRequest()).versions
    assert listed == made
    assert (made.version, made.configuration, made.active, made.create_time) == (1, FULL, False, START)


def test_a_version_of_a_new_key_makes_the_prompt(desk: Desk) -> None:
    desk.add("fresh")

    made = desk.prompts.get_prompt(ORG, "fresh")

    assert (made.auto_created, made.version_count, made.active_version) == (False, 1, None)


@pytest.mark.acceptance("B-204", "B-206")
def test_versions_are_numbered_without_gaps_and_the_last_activated_is_the_active_one(desk: Desk) -> None:
    desk.add(active=True)
    desk.add()
    desk.add(active=True)

    listed = desk.prompts.list_versions(ORG, KEY, PageRequest()).versions

    assert [(one.version, one.active) for one in listed] == [(3, True), (2, False), (1, False)]
    assert desk.prompts.activate_version(ORG, KEY, 2).active_version == 2
    listed = desk.prompts.list_versions(ORG, KEY, PageRequest()).versions
    assert [one.version for one in listed if one.active] == [2]
    assert desk.prompts.activate_version(ORG, KEY, None).active_version is None
    assert not any(one.active for one in desk.prompts.list_versions(ORG, KEY, PageRequest()).versions)


def test_a_repeat_gets_the_first_answer_whatever_is_active_by_then(desk: Desk) -> None:
    request = VersionRequest(KEY, FULL, "k", active=True)
    first = desk.prompts.create_version(ORG, request)
    desk.add(active=True)
    desk.now += SECOND

    assert desk.prompts.create_version(ORG, request) == first
    assert first.active

    prompt = desk.prompts.get_prompt(ORG, KEY)
    assert (prompt.version_count, prompt.active_version) == (2, 2)


@pytest.mark.parametrize(
    "other",
    [
        VersionRequest(KEY, FULL, "k", active=True),
        VersionRequest(KEY, Configuration("gpt-4o-mini"), "k"),
        VersionRequest("another-prompt", FULL, "k"),
    ],
)
def test_another_request_under_the_same_key_changes_nothing(desk: Desk, other: VersionRequest) -> None:
    desk.prompts.create_version(ORG, VersionRequest(KEY, FULL, "k"))

    with pytest.raises(IdempotencyKeyReused):
        desk.prompts.create_version(ORG, other)

    assert [prompt.prompt_key for prompt in desk.prompts.list_prompts(ORG, PageRequest()).prompts] == [KEY]
    assert desk.prompts.get_prompt(ORG, KEY).version_count == 1


def test_idempotency_keys_of_organizations_are_apart(desk: Desk) -> None:
    request = VersionRequest(KEY, FULL, "k")

    assert desk.prompts.create_version(ORG, request).version == 1
    assert desk.prompts.create_version(OTHER_ORG, VersionRequest(KEY, Configuration(), "k")).version == 1


def test_metadata_that_looks_like_content_is_refused_before_anything_is_written(desk: Desk) -> None:
    with pytest.raises(InvalidArgument) as refused:
        desk.add(metadata_json='{"prompt":"You are a pirate."}')

    assert refused.value.field == "version.metadata.prompt"
    assert "pirate" not in refused.value.message
    assert desk.prompts.list_prompts(ORG, PageRequest()).prompts == ()


def test_a_key_with_blanks_around_it_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidArgument):
        desk.add(" padded")
    with pytest.raises(InvalidArgument):
        desk.prompts.create_prompt(ORG, "padded ")


def test_what_is_not_there_is_not_found_and_so_is_what_is_another_organizations(desk: Desk) -> None:
    desk.add(org=OTHER_ORG, active=True)

    for ask in (
        lambda: desk.prompts.get_prompt(ORG, KEY),
        lambda: desk.prompts.update_prompt(ORG, KEY, description="mine"),
        lambda: desk.prompts.activate_version(ORG, KEY, 1),
        lambda: desk.prompts.activate_version(ORG, KEY, None),
        lambda: desk.prompts.list_versions(ORG, KEY, PageRequest()),
    ):
        with pytest.raises(NotFound) as missing:
            ask()
        assert missing.value.metadata == {"kind": "prompt", "id": KEY}

    assert desk.prompts.get_prompt(OTHER_ORG, KEY).description == ""
    assert desk.prompts.version_count(ORG, KEY) == 0
    assert desk.prompts.version_count(OTHER_ORG, KEY) == 1


def test_a_version_that_is_not_there_is_not_activated(desk: Desk) -> None:
    desk.add(active=True)

    with pytest.raises(NotFound) as missing:
        desk.prompts.activate_version(ORG, KEY, 2)

    assert missing.value.metadata == {"kind": "version", "id": f"{KEY}/2"}
    assert desk.prompts.get_prompt(ORG, KEY).active_version == 1


def test_prompts_are_listed_by_key_in_pages(desk: Desk) -> None:
    for key in ("c", "a", "e", "b", "d"):
        desk.prompts.create_prompt(ORG, key)
    desk.prompts.create_prompt(OTHER_ORG, "aa")

    found, token = [], ""
    for _ in range(3):
        page = desk.prompts.list_prompts(ORG, PageRequest(2, token))
        found += [prompt.prompt_key for prompt in page.prompts]
        token = page.next_page_token

    assert (found, token) == (["a", "b", "c", "d", "e"], "")


def test_versions_are_listed_from_the_newest_in_pages(desk: Desk) -> None:
    for _ in range(3):
        desk.add()

    first = desk.prompts.list_versions(ORG, KEY, PageRequest(2))
    second = desk.prompts.list_versions(ORG, KEY, PageRequest(2, first.next_page_token))

    assert [one.version for one in (*first.versions, *second.versions)] == [3, 2, 1]
    assert second.next_page_token == ""


@pytest.mark.parametrize("cursor", [(5,), ("a", "b"), ("a\0",), ()])
def test_a_forged_token_of_prompts_is_no_error_of_the_database(
    desk: Desk, cursor: tuple[str | int, ...]
) -> None:
    with pytest.raises(PageTokenInvalid):
        desk.prompts.list_prompts(ORG, PageRequest(2, encode_token(cursor, {"list": "prompts"})))


@pytest.mark.parametrize("cursor", [("x",), (2**70,), (-(2**70),), (1, 2)])
def test_a_forged_token_of_versions_is_no_error_of_the_database(
    desk: Desk, cursor: tuple[str | int, ...]
) -> None:
    desk.add()

    token = encode_token(cursor, {"list": "versions", "prompt_key": KEY})
    with pytest.raises(PageTokenInvalid):
        desk.prompts.list_versions(ORG, KEY, PageRequest(2, token))


def test_every_change_is_in_the_audit_log_once(desk: Desk) -> None:
    desk.prompts.create_prompt(ORG, KEY)
    request = VersionRequest(KEY, FULL, "k", active=True)
    desk.prompts.create_version(ORG, request)
    desk.prompts.create_version(ORG, request)
    desk.prompts.update_prompt(ORG, KEY, description="described")
    desk.prompts.update_prompt(ORG, KEY, description="described")
    desk.prompts.activate_version(ORG, KEY, 1)
    desk.prompts.activate_version(ORG, KEY, None)

    told = [(record.action, record.object_type, record.object_id) for record in desk.records()]

    assert told == [
        ("CreatePrompt", "prompt", KEY),
        ("CreateVersion", "prompt_version", f"{KEY}/1"),
        ("CreateVersion", "prompt", KEY),
        ("UpdatePrompt", "prompt", KEY),
        ("ActivateVersion", "prompt", KEY),
    ]
