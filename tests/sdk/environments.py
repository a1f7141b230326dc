"""The environments in which official SDKs run: Python and JavaScript, this generation and the one before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
_ROOT = FOLDER.parents[1]
_PREVIOUS_PYTHON = _ROOT / ".venv-previous/bin/python"
_PATIENCE_S = 120

Told = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment, with one build of each provider's SDK."""

    language: str
    generation: str

    @property
    def name(self) -> str:
        return f"{self.language}-{self.generation}"

    def call_everything(self, url: str, headers: dict[str, str]) -> Told:
        """Make every call in a process of its own, and give what each gave or raised."""
        finished = subprocess.run(
            [*self._command(), url],
            env={"SDK_HEADERS": json.dumps(headers), "PATH": os.environ["PATH"]},
            capture_output=True,
            check=False,
            timeout=_PATIENCE_S,
        )
        assert finished.returncode == 0, finished.stderr.decode()[-2_000:]
        lines = [json.loads(line) for line in finished.stdout.splitlines()]
        return {line["call"]: line for line in lines}

    def _command(self) -> list[str]:
        if self.language == "javascript":
            assert (FOLDER / "js/node_modules").is_dir(), "`make setup` installs the SDKs"
            return ["node", str(FOLDER / "js/calls.mjs"), self.generation]
        if self.generation == "current":
            return [sys.executable, str(FOLDER / "calls.py")]
        assert _PREVIOUS_PYTHON.exists(), "`make setup` installs the previous generation"
        return [str(_PREVIOUS_PYTHON), str(FOLDER / "calls.py")]


ENVIRONMENTS = tuple(
    Environment(language, generation)
    for language in ("python", "javascript")
    for generation in ("current", "previous")
)
