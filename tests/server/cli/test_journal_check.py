"""What `doctor` says of the journals of a proxy."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from om_proxy.journal.home import Home
from om_server.cli.journal_check import ROOM_MIN_BYTES, journal_findings, room_finding

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_folder_that_is_not_there_yet_is_no_problem(tmp_path: Path) -> None:
    (finding,) = journal_findings(tmp_path / "journal")

    assert finding.text.endswith("the proxy makes it")
    assert not finding.problem


def test_a_folder_that_cannot_be_written_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    assert [each.problem for each in journal_findings(tmp_path / "file")] == [True]
    # Root may write anywhere, so the system's answer is given here.
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert [each.problem for each in journal_findings(tmp_path)] == [True]


def test_a_disk_without_room_is_a_problem(tmp_path: Path) -> None:
    assert room_finding(tmp_path, ROOM_MIN_BYTES - 1).problem
    assert not room_finding(tmp_path, ROOM_MIN_BYTES).problem


def test_a_journal_tells_whether_a_proxy_has_it_and_a_proxy_can_take_it_after(tmp_path: Path) -> None:
    home = Home.enter(tmp_path / "0", boot_id="boot", synced=False)
    assert list(journal_findings(tmp_path))[1].text.endswith("of a proxy that runs")

    home.leave()

    assert "does not run" in list(journal_findings(tmp_path))[1].text
    Home.enter(tmp_path / "0", boot_id="boot", synced=False).leave()
