"""Random requests by the OpenAPI document to every operation: each answer is one that the document has."""

from __future__ import annotations

import functools
import os
import re
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from om_server.rest.docs import load_document
from om_server.rpc.caller import Principal, Scope
from tests.contract.estate import IDENTITIES
from tests.openapi.operation import SWITCHED_OFF
from tests.openapi.refusal import TRANSCODED, check_refusal

if TYPE_CHECKING:
    from schemathesis import Case
    from schemathesis.schemas import APIOperation

    from tests.openapi.site import Site

_SOAK = settings.default.max_examples > 1000  # type: ignore[union-attr] # The profile is always loaded.
_EXAMPLES = int(os.environ.get("OM_OPENAPI_EXAMPLES") or (150 if _SOAK else 5))
_SEED = int(os.environ.get("OM_OPENAPI_SEED") or (secrets.randbelow(2**32) if _SOAK else 5))

#: Paths of operations that are not called, with the reason.
_EXCLUDED = {
    SWITCHED_OFF: "there are no such paths unless the operator switches them on",
    "/api/v1/events/watch": "its answer has no end; tests/openapi/test_streams.py asks for it",
}

_DOCUMENT = load_document()
_SCHEMA = schemathesis.openapi.from_dict(_DOCUMENT)
_OPERATIONS: dict[str, APIOperation[Any, Any, Any, Any]] = {
    found.label: found
    for found in (result.ok() for result in _SCHEMA.get_all_operations())  # type: ignore[union-attr]  # An Err raises.
    if not found.path.startswith(tuple(_EXCLUDED))
}

_CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.ignored_auth,
]
_UPPER = re.compile(r"(?<!^)([A-Z])")


@pytest.mark.parametrize("label", _OPERATIONS)
def test_every_answer_is_one_that_the_document_has(site: Site, label: str) -> None:
    print(f"OM_OPENAPI_SEED={_SEED}")  # noqa: T201 - Shown where the test fails.
    operation = _OPERATIONS[label]
    ask = functools.partial(_ask, site, _credential(site, operation), requests.Session())

    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE), real=st.booleans())
    def valid(case: Case[Any], real: bool) -> None:  # noqa: FBT001 - Hypothesis gives it.
        if real:
            _name_what_exists(case, site)
        ask(case)

    _search(valid)


@pytest.mark.parametrize(
    "label",
    [
        label
        for label, operation in _OPERATIONS.items()
        if operation.path.startswith(TRANSCODED) and (operation.body or list(operation.iter_parameters()))
    ],
)
def test_what_the_document_forbids_is_refused(site: Site, label: str) -> None:
    """Of transcoded operations; what the others pass over is published, see test_bad_input."""
    print(f"OM_OPENAPI_SEED={_SEED}")  # noqa: T201 - Shown where the test fails.
    operation = _OPERATIONS[label]
    ask = functools.partial(_ask, site, _credential(site, operation), requests.Session())

    @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def invalid(case: Case[Any]) -> None:
        ask(case, checks.negative_data_rejection)

    _search(invalid)


def _search(test: Any) -> None:
    # Shrinking costs many requests, and the request that failed is in the message.
    limits = settings(
        max_examples=_EXAMPLES,
        deadline=None,
        print_blob=False,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    seed(_SEED)(limits(test))()


def _ask(site: Site, secret: str, session: requests.Session, case: Case[Any], *more: Any) -> None:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    response = case.call(base_url=site.rest, session=session, headers=headers)
    case.validate_response(response, checks=[*_CHECKS, *more], headers=headers)
    if response.status_code >= 400:
        sent = response.request
        path = urlsplit(str(sent.url)).path
        check_refusal(path, response.status_code, body=response.json(), headers=_flat(response.headers))
    elif case.operation.label != "POST /v1/auth/google":
        assert response.status_code < 300


def _flat(headers: Any) -> dict[str, str]:
    return {name: values[0] if isinstance(values, list) else values for name, values in headers.items()}


def _credential(site: Site, operation: APIOperation[Any, Any, Any, Any]) -> str:
    """A new credential for each operation, because some end the one that they are called with."""
    allowed = operation.definition.raw.get("x-access", {}).get("allow", ["key"])
    if "key" in allowed or "anonymous" in allowed:
        return site.ours.new_key(*Scope).secret
    return site.ours.credential(Principal.OWNER)


def _name_what_exists(case: Case[Any], site: Site) -> None:
    """Put objects of the caller where the request names any, since nobody draws their ids."""
    for part in (case.path_parameters, case.query, case.body):
        _replace(part, functools.partial(_made, site, case.operation.path))


def _replace(part: Any, make: Any) -> None:
    if isinstance(part, list):
        for item in part:
            _replace(item, make)
    elif isinstance(part, dict):
        for name, value in part.items():
            if isinstance(value, str) and (made := make(name)) is not None:
                part[name] = made
            else:
                _replace(value, make)


def _made(site: Site, path: str, name: str) -> str | None:
    kind = _UPPER.sub(r"_\1", name).lower().rpartition(".")[2]
    if name == "id":
        kind = "burn_table_id" if "burn-tables" in path else "entitlement_id"
    if kind == "customer_id":
        return site.ours.organization_id
    if kind == "lease_id":
        kind = "lost_lease_id"
    return str(site.ours.make(kind)) if kind in IDENTITIES else None
