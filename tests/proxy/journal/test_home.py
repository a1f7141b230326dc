from pathlib import Path

import pytest

from om_proxy.journal import boot
from om_proxy.journal.home import Home, HomeTaken, IdentityUnreadable


def enter(path: Path, *, boot_id: str = "boot", synced: bool = False) -> Home:
    return Home.enter(path, boot_id=boot_id, synced=synced)


def test_an_empty_directory_is_a_new_edge_and_is_nobody_elses_to_read(tmp_path: Path) -> None:
    one, other = enter(tmp_path / "one"), enter(tmp_path / "other")

    assert one.edge.edge_id != other.edge.edge_id
    assert (one.edge.edge_epoch, one.clean, one.store) == (1, True, "")
    assert (tmp_path / "one").stat().st_mode & 0o077 == 0
    assert (tmp_path / "one" / "edge.json").stat().st_mode & 0o077 == 0


def test_every_start_is_another_epoch_and_another_instance_of_the_same_edge(tmp_path: Path) -> None:
    edges = []
    for _ in range(3):
        home = enter(tmp_path)
        edges.append(home.edge)
        home.leave()

    assert [edge.edge_epoch for edge in edges] == [1, 2, 3]
    assert len({edge.edge_id for edge in edges}) == 1
    assert len({edge.instance for edge in edges}) == 3


def test_a_directory_has_one_owner(tmp_path: Path) -> None:
    owner = enter(tmp_path)
    with pytest.raises(HomeTaken, match="is the journal of a process that runs"):
        enter(tmp_path)
    owner.leave()

    assert enter(tmp_path).edge.edge_epoch == 2


@pytest.mark.parametrize(
    ("first", "second", "synced", "clean"),
    [
        ("a", "a", False, True),
        ("a", "b", False, False),
        ("a", "b", True, True),
        ("", "", False, False),
        ("", "", True, True),
    ],
    ids=["same life", "power cut", "power cut, on the disk", "nobody can tell", "on the disk anyway"],
)
def test_the_past_is_known_whole_if_nothing_of_it_was_in_memory_alone(
    tmp_path: Path, first: str, second: str, *, synced: bool, clean: bool
) -> None:
    enter(tmp_path, boot_id=first, synced=synced).leave()

    assert enter(tmp_path, boot_id=second).clean is clean


def test_an_orderly_end_survives_a_power_cut(tmp_path: Path) -> None:
    enter(tmp_path, boot_id="a").leave(synced=True)

    assert enter(tmp_path, boot_id="b").clean


def test_a_past_with_holes_stays_so_until_the_server_has_heard_it(tmp_path: Path) -> None:
    enter(tmp_path, boot_id="a").leave()
    for _ in range(2):
        home = enter(tmp_path, boot_id="b")
        assert not home.clean
        home.leave()
    home = enter(tmp_path, boot_id="b")
    home.resynced("store")
    home.leave()

    home = enter(tmp_path, boot_id="b")
    assert (home.clean, home.store) == (True, "store")


def test_damage_is_remembered(tmp_path: Path) -> None:
    home = enter(tmp_path)
    home.found_damage()
    home.leave()

    assert not enter(tmp_path).clean


def test_another_epoch_in_this_process_is_never_used_again(tmp_path: Path) -> None:
    home = enter(tmp_path)
    edge = home.edge
    home.next_epoch(step=4)
    home.leave()

    assert edge.edge_epoch == 5
    assert enter(tmp_path).edge.edge_epoch == 6


def test_an_identity_that_cannot_be_read_is_for_an_owner(tmp_path: Path) -> None:
    enter(tmp_path).leave()
    (tmp_path / "edge.json").write_text("{")

    with pytest.raises(IdentityUnreadable, match="move the directory away"):
        enter(tmp_path)


def test_the_life_of_this_machine_has_a_name_that_stays() -> None:
    assert boot.boot_id() == boot.boot_id()
    assert len(boot.boot_id()) <= 64


def test_where_nobody_can_tell_the_life_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "_LINUX", tmp_path / "nowhere")
    monkeypatch.setattr(boot, "_MACOS", (str(tmp_path / "nowhere"),))

    assert boot.boot_id() == ""
