"""What a program has when it is set up is not looked at again; what it makes later still is."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from om_server.core.collector import spare_what_stays


class Knot:
    """A cycle of references."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def collector_as_it_was() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()
    gc.freeze()  # Again what tests/conftest.py spared.


def test_what_exists_is_left_out_of_later_collections() -> None:
    stays = Knot()

    spare_what_stays()

    assert all(found is not stays for found in gc.get_objects())


def test_cycles_that_are_made_later_are_still_collected() -> None:
    spare_what_stays()
    gone = weakref.ref(Knot())

    gc.collect()

    assert gone() is None
