"""Passwords, at a cost that does not slow the tests."""

import threading
from collections.abc import Callable
from typing import Any

import argon2
import pytest

from om_server.account.people.password import Cost, PasswordHashing, check_password
from om_server.core.errors import InvalidArgument, Overloaded
from tests.server.account.people.house import CHEAP, PASSWORD


@pytest.fixture(name="passwords", scope="module")
def make_passwords() -> PasswordHashing:
    return PasswordHashing(CHEAP)


def test_only_the_right_password_is_right(passwords: PasswordHashing) -> None:
    stored = passwords.hash(PASSWORD)

    assert passwords.verify(stored, PASSWORD)
    assert not passwords.verify(stored, PASSWORD + ".")
    assert PASSWORD not in stored
    assert stored != passwords.hash(PASSWORD)


def test_it_is_argon2id_at_the_cost_that_was_set(passwords: PasswordHashing) -> None:
    found = argon2.extract_parameters(passwords.hash(PASSWORD))

    assert (found.type, found.time_cost, found.memory_cost, found.parallelism) == (argon2.Type.ID, 1, 8, 1)


def test_the_cost_by_default_is_what_is_recommended() -> None:
    # OWASP's least for Argon2id: 19 MiB in two passes.
    assert (Cost().memory_kib, Cost().passes, Cost().lanes) == (19 * 1024, 2, 1)


def test_a_letter_with_an_accent_is_one_letter_however_it_is_typed(passwords: PasswordHashing) -> None:
    assert passwords.verify(passwords.hash("caf\u00e9 au lait"), "cafe\u0301 au lait")


def test_a_hash_of_another_cost_is_outdated_and_still_right(passwords: PasswordHashing) -> None:
    dearer = PasswordHashing(Cost(passes=2, memory_kib=8))
    stored = passwords.hash(PASSWORD)

    assert dearer.verify(stored, PASSWORD)
    assert dearer.outdated(stored)
    assert not passwords.outdated(stored)


def test_nobody_has_no_password_and_costs_a_whole_hash(
    passwords: PasswordHashing, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    verify: Callable[..., Any] = argon2.PasswordHasher.verify

    def spy(hasher: argon2.PasswordHasher, stored: str, password: str) -> Any:
        checked.append(stored)
        return verify(hasher, stored, password)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", spy)

    assert not passwords.verify("", PASSWORD)
    assert not passwords.verify("", "")
    # A malformed hash would fail before any work.
    assert [argon2.extract_parameters(stored).memory_cost for stored in checked] == [8, 8]
    assert not passwords.outdated(checked[0])


def test_hashes_beyond_those_that_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = PasswordHashing(Cost(passes=1, memory_kib=8, together=1))
    inside, leave = threading.Event(), threading.Event()

    def wait(_hasher: argon2.PasswordHasher, _password: str) -> str:
        inside.set()
        assert leave.wait(30)
        return "hashed"

    monkeypatch.setattr(argon2.PasswordHasher, "hash", wait)
    thread = threading.Thread(target=passwords.hash, args=(PASSWORD,))
    thread.start()
    assert inside.wait(30)
    with pytest.raises(Overloaded):
        passwords.verify("", PASSWORD)
    leave.set()
    thread.join()

    assert not passwords.verify("", PASSWORD)


@pytest.mark.parametrize("password", ["123456789", "", "\u00fc" * 513])
def test_a_new_password_that_is_too_short_or_too_long_is_refused(password: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        check_password(password, "new_password")

    assert raised.value.field == "new_password"
    assert not password or password not in str(raised.value)


@pytest.mark.parametrize("password", ["1234567890", "\u00fc" * 512])
def test_a_new_password_at_the_limits_is_taken(password: str) -> None:
    check_password(password, "password")
