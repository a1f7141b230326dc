"""The generated tree: the OpenAPI document of the real contract, and how files are kept in step."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_spec_validator import validate

from tools import generate
from tools.openapi.contract import Contract

OPENAPI = generate.GENERATED / "openapi" / "openapi.yaml"
VERBS = {"get", "put", "post", "delete", "patch"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(OPENAPI.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of generated/ that the generator takes for the real one."""
    copy = tmp_path / "generated"
    shutil.copytree(generate.GENERATED / "python", copy / "python")
    monkeypatch.setattr(generate, "GENERATED", copy)
    return copy


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    validate(document)


def test_the_document_is_one_that_connexion_serves(document: dict[str, Any]) -> None:
    """connexion knows OpenAPI 3.0 only."""
    assert document["openapi"] == "3.0.3"


def test_every_rpc_with_an_http_rule_is_an_operation(document: dict[str, Any], tmp_path: Path) -> None:
    generate.write_descriptors(tmp_path / "descriptors.binpb")
    declared = {
        (
            f"/{method.service}/{method.name}",
            rule.WhichOneof("pattern"),
            getattr(rule, rule.WhichOneof("pattern")),
        )
        for method in Contract.read(tmp_path / "descriptors.binpb").methods()
        if method.http is not None
        for rule in (method.http, *method.http.additional_bindings)
    }

    served = {
        (operation["x-grpc-method"], verb, path)
        for path, item in document["paths"].items()
        for verb, operation in item.items()
        if verb in VERBS and "x-grpc-method" in operation
    }

    assert declared
    assert served == declared


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [
        operation["operationId"]
        for item in document["paths"].values()
        for verb, operation in item.items()
        if verb in VERBS
    ]

    assert len(names) == len(set(names))


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(node: object) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*(references(value) for value in node.values()))
        return set().union(*(references(value) for value in node)) if isinstance(node, list) else set()

    def found(reference: str) -> bool:
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node.get(part, {})
        return bool(node)

    assert [reference for reference in sorted(references(document)) if not found(reference)] == []


def test_check_accepts_what_generate_wrote(copied: Path) -> None:
    assert generate.main(["--python"]) == 0
    assert generate.main(["--python", "--check"]) == 0


def test_check_refuses_an_edited_file_and_leaves_it(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edited = copied / "python" / "om" / "type" / "v1" / "money_pb2.py"
    edited.write_text("edited = True\n", encoding="utf-8")

    assert generate.main(["--python", "--check"]) == 1
    assert "python/om/type/v1/money_pb2.py" in capsys.readouterr().out
    assert edited.read_text(encoding="utf-8") == "edited = True\n"


def test_generate_removes_what_no_proto_makes_any_more(copied: Path) -> None:
    stale = copied / "python" / "om" / "gone" / "v1" / "gone_pb2.py"
    stale.parent.mkdir(parents=True)
    stale.touch()

    assert generate.main(["--python", "--check"]) == 1
    assert generate.main(["--python"]) == 0
    assert not (copied / "python" / "om" / "gone").exists()


def test_a_failing_tool_changes_nothing(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(copied.rglob("*"))
    monkeypatch.setattr(generate, "PROTO", copied / "no-protos-here")

    assert generate.main(["--python"]) == 1
    assert sorted(copied.rglob("*")) == before
