"""Random requests by the OpenAPI document to every operation: each answer is one that the document has."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from om_server.rest.docs import load_document
from om_server.rpc.caller import Principal, Scope
from tests.openapi.refusal import TRANSCODED, check_refusal

if TYPE_CHECKING:
    from schemathesis import Case
    from schemathesis.schemas import APIOperation

    from tests.openapi.site import Site

pytestmark = pytest.mark.hypothesis

_SCHEMA = schemathesis.openapi.from_dict(load_document())
_OPERATIONS = {found.ok().label: found.ok() for found in _SCHEMA.get_all_operations()}

_CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
#: What makes an identifier of ours of a parameter or a field of this name.
_REAL = {
    "burn_table_id": "burn_table_id",
}
