import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.errors import InvalidArgument, NotFound
from om_server.prompt.version import Configuration, Prompt, VersionRequest, check_key

NEW = Prompt("summarizer", create_time=5)
WISHES = st.lists(st.tuples(st.none() | st.integers(-1, 4), st.integers(0, 50)), max_size=20)


@pytest.mark.parametrize("active", [0, 3, -1])
def test_only_a_version_that_exists_can_be_active(active: int) -> None:
    with pytest.raises(ValueError, match="none of the prompt's"):
        dataclasses.replace(NEW, version_count=2, active_version=active)


def test_versions_are_counted_from_one() -> None:
    assert [NEW.version_count, NEW.grown().version_count, NEW.grown().grown().version_count] == [0, 1, 2]


@pytest.mark.acceptance("B-206")
@given(WISHES)
def test_at_most_one_version_is_ever_active_and_the_history_is_in_order(
    wishes: list[tuple[int | None, int]],
) -> None:
    prompt = NEW.grown().grown()
    for wish, now in wishes:
        before = prompt
        if wish not in (None, 1, 2):
            with pytest.raises(NotFound) as missing:
                before.activated(wish, now)
            assert missing.value.metadata == {"kind": "version", "id": f"summarizer/{wish}"}
            continue
        prompt = before.activated(wish, now)
        assert prompt.active_version == wish
        if wish == before.active_version:
            assert prompt is before
        else:
            assert prompt.active_since > before.active_since
            assert prompt.active_since >= now


def test_an_activation_takes_effect_at_once_unless_another_clock_was_ahead() -> None:
    first = NEW.grown().activated(1, now=100)

    assert first.active_since == 100
    assert first.activated(None, now=70).active_since == 101


@pytest.mark.parametrize("key", ["", " ", " summarizer", "summarizer\n"])
def test_a_key_that_no_call_could_name_is_refused(key: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_key(key)

    assert refused.value.field == "prompt_key"


@pytest.mark.parametrize("key", ["document-summarizer", "a b", "team/é", "unknown"])
def test_any_other_key_will_do(key: str) -> None:
    check_key(key)


def test_a_request_is_told_from_every_other_by_what_it_asks_for() -> None:
    plain = VersionRequest("summarizer", Configuration(), "key")
    others = [
        dataclasses.replace(plain, prompt_key="other"),
        dataclasses.replace(plain, active=True),
        *(
            dataclasses.replace(plain, configuration=configuration)
            for configuration in (
                Configuration(model="gpt-4o"),
                Configuration(temperature=0.0),
                Configuration(max_tokens=1),
                Configuration(metadata_json='{"a":1}'),
            )
        ),
    ]

    assert len({request.request_hash for request in (plain, *others)}) == len(others) + 1
    assert dataclasses.replace(plain, idempotency_key="other").request_hash == plain.request_hash
