"""Compares proto/ with the newest release, so that no released client breaks.

Before the first release, and in a tree without git history, there is nothing to compare with.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUF = Path(sys.executable).parent / "buf"


def main() -> int:
    tag = _newest_release()
    if tag is None:
        print("buf breaking: no release tag here, so there is nothing to compare with")
        return 0
    print(f"buf breaking: against {tag}", flush=True)
    return subprocess.run(
        [str(BUF), "breaking", "--against", f".git#tag={tag}"], cwd=ROOT, check=False
    ).returncode


def _newest_release() -> str | None:
    """The highest tag of the form v1.2.3 that is an ancestor of HEAD."""
    if not (ROOT / ".git").exists():
        # An exported tree may lie inside of another repository, whose tags are not ours.
        return None
    command = ["git", "tag", "--merged", "HEAD", "--list", "v[0-9]*", "--sort=-version:refname"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return next(iter(listed.stdout.split()), None)


if __name__ == "__main__":
    sys.exit(main())
