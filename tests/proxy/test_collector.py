"""The collector of cycles is told once what stays, and looks at the young less often."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from om_proxy.collector import spare_what_stays


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.freeze()  # Again what tests/conftest.py spared.
    gc.set_threshold(*before)


class _Knot:
    def __init__(self, ends: list[str]) -> None:
        self.me, self._ends = self, ends

    def __del__(self) -> None:
        self._ends.append("collected")


def test_what_exists_is_looked_at_no_more() -> None:
    gc.unfreeze()

    spare_what_stays()

    assert gc.get_freeze_count() > 1_000
    assert gc.get_threshold()[0] > 1_000


def test_rubbish_is_collected_before_what_stays_is_spared() -> None:
    ends: list[str] = []
    _Knot(ends)

    spare_what_stays()

    assert ends == ["collected"]


def test_cycles_that_come_later_are_still_collected() -> None:
    ends: list[str] = []
    spare_what_stays()
    _Knot(ends)

    gc.collect()

    assert gc.isenabled()
    assert ends == ["collected"]
