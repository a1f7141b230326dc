"""Secrets that stand for a person for a while."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.account.people.secret import INVITE, RESET, SESSION, credible, new_secret


@given(st.binary(min_size=24, max_size=24), st.sampled_from([SESSION, INVITE, RESET]))
def test_a_secret_is_credible_for_its_purpose_alone(random: bytes, prefix: str) -> None:
    secret = new_secret(prefix, lambda count: random[:count])

    assert credible(secret, prefix)
    assert not any(credible(secret, other) for other in {SESSION, INVITE, RESET} - {prefix})
    assert len(secret) == 4 + 32


def test_a_secret_has_at_least_190_random_bits() -> None:
    asked: list[int] = []

    def random_bytes(count: int) -> bytes:
        asked.append(count)
        return b"\0" * count

    new_secret(SESSION, random_bytes)

    assert sum(asked) * 8 >= 190


@pytest.mark.parametrize(
    "text", ["", "oms_", "oms_" + "a" * 31, "oms_" + "a" * 33, "oms_" + "é" * 32, "oms_" + "a" * 31 + "\n"]
)
def test_what_nobody_made_is_not_looked_up(text: str) -> None:
    assert not credible(text, SESSION)
