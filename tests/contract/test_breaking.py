"""The comparison with the newest release, on a small repository of its own."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tools import breaking

PROTO = """syntax = "proto3";
package om.toy.v1;
message Toy {{ {fields} }}
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(breaking, "ROOT", tmp_path)
    shutil.copyfile(Path(__file__).parents[2] / "buf.yaml", tmp_path / "buf.yaml")
    (tmp_path / "proto" / "third_party").mkdir(parents=True)
    (tmp_path / "proto" / "third_party" / "other.proto").write_text('syntax = "proto3";\n', encoding="utf-8")
    write(tmp_path, "string name = 1; int32 size = 2;")
    return tmp_path


def write(repository: Path, fields: str) -> None:
    path = repository / "proto" / "om" / "toy" / "v1" / "toy.proto"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PROTO.format(fields=fields), encoding="utf-8")


def release(repository: Path, *tags: str) -> None:
    git = ["git", "-C", str(repository), "-c", "user.name=Ann", "-c", "user.email=ann@example.com"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "--no-gpg-sign", "--message", "Release"], check=True)
    for tag in tags:
        subprocess.run([*git, "tag", tag], check=True)


def test_a_field_that_changed_its_type_breaks(repository: Path) -> None:
    release(repository, "v0.1.0")
    write(repository, "string name = 1; string size = 2;")

    assert breaking.main() != 0


def test_a_new_field_does_not_break(repository: Path) -> None:
    release(repository, "v0.1.0")
    write(repository, "string name = 1; int32 size = 2; bool loud = 3;")

    assert breaking.main() == 0


def test_the_newest_release_counts(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release(repository, "v0.9.0", "v0.10.0", "nightly")

    assert breaking.main() == 0
    assert "v0.10.0" in capsys.readouterr().out


@pytest.mark.parametrize("history", [True, False])
def test_without_a_release_there_is_nothing_to_compare(
    repository: Path, capsys: pytest.CaptureFixture[str], *, history: bool
) -> None:
    if history:
        release(repository)

    assert breaking.main() == 0
    assert "nothing to compare" in capsys.readouterr().out
