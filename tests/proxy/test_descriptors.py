from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from om_proxy.descriptors import take_all_descriptors

_FILES = resource.RLIMIT_NOFILE


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = resource.getrlimit(_FILES)
    yield
    resource.setrlimit(_FILES, before)


def test_a_low_limit_is_raised_as_far_as_it_goes() -> None:
    _, hard = resource.getrlimit(_FILES)
    resource.setrlimit(_FILES, (hard - 1, hard))

    take_all_descriptors()

    assert resource.getrlimit(_FILES) == (hard, hard)


def test_a_system_that_lets_nobody_raise_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    before = resource.getrlimit(_FILES)
    with monkeypatch.context() as odd:
        odd.setattr(resource, "setrlimit", refusing)
        take_all_descriptors()

    assert resource.getrlimit(_FILES) == before
