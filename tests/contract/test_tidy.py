"""House rules that tools/tidy.py checks, on a small tree of its own."""

from pathlib import Path

import pytest

from tools import tidy

# Put together here, because tidy reads this file too.
LATER = "TO" + "DO"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tidy, "ROOT", tmp_path)
    (tmp_path / "server").mkdir()
    return tmp_path


def test_a_module_of_400_lines_is_accepted(tree: Path) -> None:
    (tree / "server" / "ledger.py").write_text("x = 1\n" * 400, encoding="utf-8")

    assert tidy.main() == 0


def test_a_longer_module_is_refused(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "server" / "ledger.py").write_text("x = 1\n" * 401, encoding="utf-8")

    assert tidy.main() == 1
    assert "server/ledger.py: 401 lines" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["utils.py", "helpers.py", "common.py", "_base.py"])
def test_a_file_name_that_says_nothing_is_refused(tree: Path, name: str) -> None:
    (tree / "server" / name).touch()

    assert tidy.main() == 1


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (f"# {LATER}(#12): round once.", 0),
        (f"# {LATER}: round once.", 1),
        (f"# {LATER}(ann): round once.", 1),
        ("# FIX" + "ME", 1),
        ("# Rounded once.", 0),
    ],
)
def test_work_left_for_later_has_the_number_of_its_issue(tree: Path, line: str, code: int) -> None:
    (tree / "server" / "ledger.py").write_text(f"{line}\n", encoding="utf-8")

    assert tidy.main() == code


def test_what_tools_installed_is_not_ours(tree: Path) -> None:
    installed = tree / "tools" / "node" / "node_modules" / "left-pad"
    installed.mkdir(parents=True)
    (installed / "utils.ts").write_text(f"// {LATER}\n", encoding="utf-8")

    assert tidy.main() == 0
