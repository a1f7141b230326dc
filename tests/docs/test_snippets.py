"""Runs every snippet of the documents against a real platform and compares what it prints.

The settings of a shell command come from the environment of this process, with the platform's addresses.
"""

from __future__ import annotations

import functools
import io
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.docs import curl
from tests.docs.matching import mismatch
from tests.docs.snippets import DOCUMENTS, PYTHON, ROOT, SHELL, Block, blocks, commands, snippets, unexplained

if TYPE_CHECKING:
    from tests.docs.running import Running

_SETTLED_WITHIN_S = 10
_COMMAND_TIMEOUT_S = 60
_PROGRAMS = {"curl", "openmonetize", "uv"}

#: Every block that is not run, by document and reason. It grows only on purpose.
NOT_RUN = {
    "README.md": ["the tests of the documents start the platform themselves"],
    "docs/architecture.md": ["it shows the processes"],
    "docs/development.md": [
        "it shows the tree",
        "it shows the floors",
        "it shows the tree",
        "it asks a package index",
    ],
    "docs/crash-safety.md": ["it needs a backup"],
    "docs/burn-tables.md": [
        "it shows a file",
        "the platform of this test owns the database",
    ],
    "docs/deploy.md": ["it needs Docker", "it needs a PostgreSQL server", "it needs a backup"],
    "docs/getting-started.md": ["the test starts the same processes itself"],
    "docs/grpc.md": ["tests/clients runs both programs"],
    "docs/observability.md": ["it goes on until it is stopped", "it shows a file"],
    "docs/operations.md": [
        "it needs a PostgreSQL server, which the tests of the server start for themselves"
    ],
    "docs/providers.md": ["it needs a key of Groq's", "a file"],
    "docs/prices.md": ["it rewrites the catalogue of this checkout"],
    "docs/rest.md": ["it goes on until it is stopped"],
}

_SHELL_BLOCKS = [
    snippet.block for path in DOCUMENTS for snippet in snippets(path) if snippet.block.language in SHELL
]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if snippets(path)], ids=_name)
def test_the_snippets_of_a_document_do_what_it_says(path: Path, platform: Running) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    try:
        for snippet in snippets(path):
            deadline = time.monotonic() + (_SETTLED_WITHIN_S if snippet.block.repeat else 0)
            while True:
                printed = _run(snippet.block, platform, names)
                expected = snippet.output
                wrong = mismatch(expected.language, expected.text, printed) if expected else ""
                if not wrong or time.monotonic() > deadline:
                    break
            assert not wrong, f"{snippet.block} prints something else: {wrong}"
    finally:
        _close(names)


def _run(block: Block, platform: Running, names: dict[str, object]) -> str:
    text = platform.translate(block.text)
    if block.language in PYTHON:
        printed = io.StringIO()
        # Not the process's own output: the platform beside it logs there.
        names["print"] = functools.partial(print, file=printed)
        exec(compile(text, str(block), "exec"), names)  # noqa: S102 - it is what a reader would run
        return printed.getvalue()
    if shutil.which("curl") is None and all(words[0] == "curl" for words in commands(block)):
        translated = [[platform.translate(word) for word in words] for words in commands(block)]
        return "".join(curl.send(curl.parse(words[1:])) for words in translated)
    return _shell(block, text, platform)


def _shell(block: Block, text: str, platform: Running) -> str:
    # This interpreter's own folder, so that `openmonetize` is the program under test.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", text],
        env={**os.environ, "PATH": path, **platform.environment},
        capture_output=True,
        text=True,
        timeout=_COMMAND_TIMEOUT_S,
        check=False,
        cwd=platform.folder,
    )
    assert done.returncode == 0, f"{block} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return platform.restore(done.stdout) if "openmonetize" in block.text else done.stdout


def _close(names: dict[str, object]) -> None:
    """Close the clients that a document opened, as its reader's program would at its end."""
    for value in names.values():
        if callable(close := getattr(value, "close", None)) and not isinstance(value, type):
            close()


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_every_block_is_run_or_says_why_not(path: Path) -> None:
    assert [str(block) for block in unexplained(path)] == []


def test_exactly_these_blocks_are_not_run() -> None:
    found: dict[str, list[str]] = {}
    for path in DOCUMENTS:
        for block in blocks(path):
            if block.not_run:
                found.setdefault(block.document, []).append(block.not_run)

    assert found == NOT_RUN


@pytest.mark.parametrize("block", _SHELL_BLOCKS, ids=str)
def test_a_shell_block_uses_known_programs_only(block: Block) -> None:
    assert {words[0] for words in commands(block)} <= _PROGRAMS


@pytest.mark.parametrize("block", _SHELL_BLOCKS, ids=str)
def test_a_machine_without_curl_understands_every_command(block: Block) -> None:
    for words in commands(block):
        if words[0] == "curl":
            assert curl.parse(words[1:]).url.startswith("http://localhost:")


def test_without_curl_the_same_is_printed(platform: Running) -> None:
    url = platform.translate("http://localhost:8082/v1/chat/completions")

    printed = curl.send(curl.parse(["-i", url, "-H", "X-OM-Api-Key: om_dev_test_key", "-d", "{}"]))

    head, _, body = printed.partition("\n\n")
    assert head.startswith("HTTP/1.1 400 Bad Request\n")
    assert '"code":"missing_billing_headers"' in body
