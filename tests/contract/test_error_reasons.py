"""Reasons in the code and in the contract are one list, with one status code each."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import om_server
from om.type.v1 import error_reason_pb2
from om_server.core.errors import Code, DomainError

CONTRACT = Path(__file__).parents[2] / "proto" / "om" / "type" / "v1" / "error_reason.proto"
PREFIX = "ERROR_REASON_"

#: Raised before the server listens, so never on the wire: the code is for the exit of the command.
START_UP = {"DatabaseOwned", "MigrationRefused"}


def documented() -> dict[str, str]:
    """The code that opens each reason's comment."""
    found = re.findall(r"((?:  //[^\n]*\n)+)  ERROR_REASON_(\w+) = \d+;", CONTRACT.read_text())
    return {name: comment.strip().removeprefix("// ").split(".")[0] for comment, name in found}


def subclasses(error: type[DomainError]) -> Iterator[type[DomainError]]:
    for child in error.__subclasses__():
        yield child
        yield from subclasses(child)


@pytest.fixture(scope="module", name="errors")
def find_errors() -> list[type[DomainError]]:
    """Every error of the server, so every module of it is imported."""
    for module in pkgutil.walk_packages(om_server.__path__, "om_server."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return [error for error in subclasses(DomainError) if error.__module__.startswith("om_server.")]


def test_every_reason_of_the_contract_has_a_code() -> None:
    reasons = {name.removeprefix(PREFIX) for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118 - no dict
    codes = documented()

    assert set(codes) == reasons
    assert {name for name, code in codes.items() if code not in Code.__members__} == {"UNSPECIFIED"}


def test_the_reasons_of_the_code_are_those_of_the_contract(errors: list[type[DomainError]]) -> None:
    raised = {error.reason for error in errors}

    assert raised == set(documented()) - {"UNSPECIFIED"}


def test_an_error_has_the_code_that_the_contract_says(errors: list[type[DomainError]]) -> None:
    codes = documented()
    different = {
        error.__name__: (error.code.name, codes[error.reason])
        for error in errors
        if error.__name__ not in START_UP and error.code.name != codes[error.reason]
    }

    assert different == {}
