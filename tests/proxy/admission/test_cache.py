from __future__ import annotations

from om_proxy.admission.cache import ExpiringCache


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_entry_ends_at_its_own_time() -> None:
    clock = Clock()
    cache: ExpiringCache[str, int] = ExpiringCache(10, clock)
    cache.put("short", 1, time_to_live_s=2)
    cache.put("long", 2, time_to_live_s=60)

    clock.now += 1.9
    assert (cache.get("short"), cache.get("long")) == (1, 2)
    clock.now += 0.1
    assert (cache.get("short"), cache.get("long")) == (None, 2)


def test_an_entry_without_a_life_never_is() -> None:
    cache: ExpiringCache[str, int] = ExpiringCache(10, Clock())
    cache.put("dead", 1, time_to_live_s=0)
    cache.put("deader", 1, time_to_live_s=-1)

    assert (cache.get("dead"), cache.get("deader")) == (None, None)


def test_too_many_entries_push_out_the_oldest() -> None:
    cache: ExpiringCache[int, int] = ExpiringCache(2, Clock())
    for key in (1, 2, 3):
        cache.put(key, key, time_to_live_s=60)

    assert [cache.get(key) for key in (1, 2, 3)] == [None, 2, 3]


def test_an_entry_that_is_put_again_is_new() -> None:
    clock = Clock()
    cache: ExpiringCache[int, int] = ExpiringCache(2, clock)
    cache.put(1, 1, time_to_live_s=2)
    cache.put(2, 2, time_to_live_s=60)
    cache.put(1, 10, time_to_live_s=60)
    cache.put(3, 3, time_to_live_s=60)
    clock.now += 5

    assert [cache.get(key) for key in (1, 2, 3)] == [10, None, 3]
