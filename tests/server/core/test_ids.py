import hashlib
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.ids import (
    KEY_PREFIXES,
    IdSource,
    checksum_ok,
    hash_key,
    id_pattern,
    mask_key,
    new_id,
    new_key,
)

MOMENTS = st.integers(0, 2**48 - 1)
NOISE = st.binary(min_size=10, max_size=10)
KEY_NOISE = st.binary(min_size=32, max_size=32)


@given(MOMENTS, MOMENTS, NOISE, NOISE)
def test_ids_sort_by_time_and_match_their_pattern(early: int, late: int, one: bytes, other: bytes) -> None:
    early, late = sorted((early, late))
    first, second = new_id("wal", early, random_bytes=one), new_id("wal", late, random_bytes=other)

    assert id_pattern("wal").fullmatch(first)
    if early < late:
        assert first < second


def test_an_id_spells_time_and_noise() -> None:
    assert new_id("wal", 0, random_bytes=bytes(10)) == "wal_" + "0" * 26
    assert new_id("wal", 2**48 - 1, random_bytes=b"\xff" * 10) == "wal_7" + "z" * 25


def test_a_time_beyond_the_year_10889_does_not_fit() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        new_id("wal", 2**48, random_bytes=bytes(10))


@pytest.mark.parametrize(
    "text", ["wal_", "wal_" + "0" * 25, "wal_" + "8" + "0" * 25, "hld_" + "0" * 26, "wal_" + "U" * 26]
)
def test_a_pattern_refuses_what_is_not_its_id(text: str) -> None:
    assert not id_pattern("wal").fullmatch(text)


def test_a_prefix_is_a_few_lower_case_letters() -> None:
    with pytest.raises(ValueError, match="prefix"):
        id_pattern(".*")


def test_ids_of_a_source_grow_inside_a_millisecond_and_when_the_clock_falls() -> None:
    clock = iter([1000, 1000, 1000, 999, 5, 1001])
    noise = itertools.cycle([b"\xff" * 10, bytes(10)])
    source = IdSource(lambda: next(clock), lambda size: next(noise)[:size])

    made = [source.new("evt") for _ in range(6)]

    assert made == sorted(made)
    assert len(set(made)) == 6


@pytest.mark.parametrize("prefix", KEY_PREFIXES)
@given(noise=KEY_NOISE)
def test_a_new_key_has_its_prefix_and_a_right_checksum(prefix: str, noise: bytes) -> None:
    key = new_key(prefix, noise)

    assert re.fullmatch(re.escape(prefix) + "[0-9A-Za-z]{38}", key)
    assert checksum_ok(key)


@given(KEY_NOISE, st.integers(0, 41), st.sampled_from("0aZ_é "))
def test_one_wrong_character_breaks_the_checksum(noise: bytes, place: int, character: str) -> None:
    key = new_key("apc_", noise)
    wrong = key[:place] + character + key[place + 1 :]

    assert checksum_ok(wrong) is (wrong == key)


@pytest.mark.parametrize(
    "text", ["", "apc_", "om_dev_test_key", "sk-0123456789", "apc_" + "0" * 38, "om_live_" + "é" * 38]
)
def test_what_was_never_a_key_has_no_checksum(text: str) -> None:
    assert not checksum_ok(text)


def test_a_key_is_stored_as_its_sha_256() -> None:
    assert hash_key("apc_x") == hashlib.sha256(b"apc_x").hexdigest()


@pytest.mark.parametrize("prefix", KEY_PREFIXES)
def test_a_mask_shows_prefix_and_last_four_characters(prefix: str) -> None:
    key = new_key(prefix, bytes(range(32)))

    assert mask_key(key) == f"{prefix}...{key[-4:]}"


@pytest.mark.parametrize(("key", "mask"), [("om_dev_test_key", "..."), ("apc_short", "apc_..."), ("", "...")])
def test_a_key_too_short_to_hide_is_not_shown(key: str, mask: str) -> None:
    assert mask_key(key) == mask


def test_a_key_is_not_made_of_too_little_or_for_an_unknown_prefix() -> None:
    with pytest.raises(ValueError, match="key needs"):
        new_key("apc_", bytes(31))
    with pytest.raises(ValueError, match="key needs"):
        new_key("sk-", bytes(32))
    with pytest.raises(ValueError, match="random bytes"):
        new_id("wal", 0, random_bytes=bytes(9))
