"""Writes everything under generated/ from the contract under proto/.

Python and OpenAPI come from here, TypeScript and Go from `buf generate` (buf.gen.yaml). Everything is
first written to a temporary folder, so that a failed run leaves generated/ as it was and `--check`
needs no git.
"""

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc_tools

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
THIRD_PARTY = PROTO / "third_party"
GENERATED = ROOT / "generated"
DOCUMENTED = ROOT / "server" / "om_server" / "rest" / "documented" / "openapi"
BINARIES = Path(sys.executable).parent
TOOLCHAIN = BINARIES.parent / "toolchain" / "bin"

# Only our own messages need buf.validate; google.api is imported from googleapis-common-protos.
VALIDATE = THIRD_PARTY / "buf" / "validate" / "validate.proto"

# Written by hand beside generated code: the Go module's name and its checked dependencies.
KEPT = frozenset({Path("go/go.mod"), Path("go/go.sum")})


class GenerationError(Exception):
    """A tool failed or is missing; the message is for the person who ran the command."""


def main(argv: list[str]) -> int:
    """Generate, or with --check compare; the exit code is 1 on a difference or a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    parser.add_argument("--python", action="store_true", help="only generated/python")
    parser.add_argument("--openapi", action="store_true", help="only generated/openapi")
    arguments = parser.parse_args(argv)
    parts = _parts(python=arguments.python, openapi=arguments.openapi)
    try:
        with tempfile.TemporaryDirectory(prefix="generate-") as folder:
            fresh = Path(folder)
            for part, write in parts.items():
                (fresh / part).mkdir(exist_ok=True)
                write(fresh)
            changes = [change for part in parts for change in _differences(fresh, part)]
            if not arguments.check:
                _apply(fresh, changes)
    except GenerationError as error:
        print(f"generate: {error}", file=sys.stderr)
        return 1
    return _report(changes, check=arguments.check)


def write_descriptors(path: Path) -> None:
    """Write proto/om as a FileDescriptorSet, with all imports and comments."""
    outputs = ("--include_imports", "--include_source_info", f"--descriptor_set_out={path}")
    _protoc(*outputs, files=_own_protos())


def _parts(*, python: bool, openapi: bool) -> dict[str, Callable[[Path], None]]:
    # OpenAPI comes after Python, because it reads our options through the code just generated.
    every: dict[str, Callable[[Path], None]] = {
        "python": _write_python,
        "openapi": _write_openapi,
        "typescript": _write_typescript_and_go,
        "go": lambda _: None,  # Written by the same run of buf.
    }
    chosen = {name for name, wanted in (("python", python), ("openapi", openapi)) if wanted}
    return {name: write for name, write in every.items() if name in (chosen or every)}


def _write_python(out: Path) -> None:
    target = out / "python"
    messages = [*_own_protos(), VALIDATE]
    services = [path for path in _own_protos() if path.name.endswith("_service.proto")]
    _protoc(f"--python_out={target}", f"--mypy_out=quiet:{target}", files=messages)
    if services:
        _protoc(
            f"--grpc_python_out={target}",
            f"--mypy_grpc_out=quiet,generate_concrete_servicer_stubs:{target}",
            files=services,
        )
    # The folders have no __init__.py: `om` and `buf` are namespaces that other packages may extend.
    for package in ("om", "buf"):
        (target / package / "py.typed").touch()


def _write_openapi(out: Path) -> None:
    fresh = out / "python"
    descriptors = out / "descriptors.binpb"
    write_descriptors(descriptors)
    path = os.pathsep.join(str(p) for p in (fresh if fresh.exists() else GENERATED / "python", ROOT))
    command = [sys.executable, "-m", "tools.openapi", str(descriptors), str(out / "openapi" / "openapi.yaml")]
    by_hand = [str(part) for part in sorted(DOCUMENTED.glob("*.yaml"))]
    _run([*command, *by_hand], PYTHONPATH=path)


def _write_typescript_and_go(out: Path) -> None:
    _run([str(BINARIES / "buf"), "generate", "--output", str(out)])


def _protoc(*outputs: str, files: list[Path]) -> None:
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    imports = [f"-I{path}" for path in (PROTO, THIRD_PARTY, well_known)]
    plugins = [f"--plugin={path}" for path in sorted(BINARIES.glob("protoc-gen-mypy*"))]
    names = [str(path.relative_to(THIRD_PARTY if path == VALIDATE else PROTO)) for path in files]
    _run([sys.executable, "-m", "grpc_tools.protoc", *imports, *plugins, *outputs, *names])


def _own_protos() -> list[Path]:
    found = sorted((PROTO / "om").rglob("*.proto"))
    if not found:
        raise GenerationError(f"no contract under {PROTO / 'om'}")
    return found


def _run(command: list[str], **variables: str) -> None:
    # protoc-gen-es is a script for `node`, which tools/toolchain may have put there.
    environment = os.environ | {"PATH": f"{TOOLCHAIN}{os.pathsep}{os.environ['PATH']}"} | variables
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        message = f"{command[0]} is missing: run `make setup`"
        raise GenerationError(message) from error
    if done.returncode:
        raise GenerationError((done.stderr or done.stdout).strip() or f"{command[0]} failed")


def _differences(fresh: Path, part: str) -> Iterator[Path]:
    """Paths below generated/ that are missing, stale or different, in a stable order."""
    expected = _files(fresh, part)
    present = _files(GENERATED, part) - KEPT
    for path in sorted(expected | present):
        both = path in expected and path in present
        if not both or not filecmp.cmp(fresh / path, GENERATED / path, shallow=False):
            yield path


def _files(root: Path, part: str) -> set[Path]:
    """Generated files only: byte code and local installations are nobody's output."""
    ignored = {"__pycache__", "node_modules"}
    found = (path for path in (root / part).rglob("*") if path.is_file())
    return {path.relative_to(root) for path in found if not ignored & set(path.parts)}


def _apply(fresh: Path, changes: list[Path]) -> None:
    for path in changes:
        target = GENERATED / path
        if (fresh / path).exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(fresh / path, target)
        else:
            target.unlink()
            _remove_empty(target.parent)


def _remove_empty(folder: Path) -> None:
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    if folder != GENERATED and not any(folder.iterdir()):
        folder.rmdir()
        _remove_empty(folder.parent)


def _report(changes: list[Path], *, check: bool) -> int:
    if not changes:
        print("generated/ is up to date")
        return 0
    for path in changes:
        print(f"{'differs' if check else 'written'}: generated/{path}")
    if check:
        print("generate: run `make generate` and commit the result", file=sys.stderr)
    return int(check)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
