from __future__ import annotations

from om_proxy.providers.sandbox.shelf import Shelf


def test_what_is_put_is_found_until_it_is_dropped() -> None:
    shelf = Shelf()
    shelf.put("file-1", b"one")
    shelf.put("file-2", b"two")
    shelf.put("batch-1", b"three")

    assert shelf.get("file-1") == b"one"
    assert list(shelf.listed("file-")) == ["file-2", "file-1"]
    assert shelf.drop("file-1")
    assert not shelf.drop("file-1")
    assert shelf.get("file-1") is None


def test_the_oldest_is_forgotten_where_there_is_no_room() -> None:
    shelf = Shelf(bytes_max=3_000)
    for name in "abcd":
        shelf.put(name, bytes(700))

    assert [shelf.get(name) is None for name in "abcd"] == [True, False, False, False]


def test_replacing_makes_room_for_itself() -> None:
    shelf = Shelf(bytes_max=3_000)
    for _ in range(100):
        shelf.put("a", bytes(2_000))

    assert shelf.get("a") == bytes(2_000)


def test_a_content_larger_than_the_shelf_is_not_kept() -> None:
    shelf = Shelf(bytes_max=1_000)
    shelf.put("small", b"x")
    shelf.put("large", bytes(2_000))

    assert shelf.get("large") is None
