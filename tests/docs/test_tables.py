"""The tables of the documents say what the code says, so that they cannot grow old."""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING

import pytest
from pydantic_core import PydanticUndefined

from om_proxy.dialects.aipromptcost import AUTHORIZATION, PROVIDER_KEY
from om_proxy.dialects.attribution import CUSTOMER_ID, FEATURE_ID, HEADERS, USER_ID
from om_proxy.dialects.openmonetize import API_KEY
from om_proxy.refusals import problem
from om_proxy.refusals.refusal import Form, Problem, Shape
from om_proxy.settings import ProxySettings
from om_proxy.upstream import cost_headers
from om_server.account.administration.servicer import AdminServicer
from om_server.account.oidc.servicer import OidcServicer
from om_server.account.people.servicer import PeopleServicer
from om_server.account.registration.servicer import RegistrationServicer
from om_server.analytics.servicer import AnalyticsServicer
from om_server.ingestion.servicer import IngestionServicer
from om_server.pipeline.edge_servicer import EdgeServicer
from om_server.pipeline.entitlement_servicer import EntitlementServicer
from om_server.prompt.servicer import PromptServicer
from om_server.rating.servicer import RatingServicer
from om_server.rpc.contract import SERVICES
from om_server.rpc.unimplemented import not_implemented
from om_server.settings import Settings
from om_server.wallet.servicer import WalletServicer
from tests.docs.snippets import ROOT
from tests.docs.tables import rows
from tools.list_operations import DOCUMENT, document

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

_READERS: dict[str, type[BaseSettings]] = {"S": Settings, "P": ProxySettings}
#: What a person reads where the default is no plain value.
_WORDS = {
    ("S", "OM_SERVICE_TOKEN"): "required",
    ("P", "OM_SERVICE_TOKEN"): "required",
    ("S", "OM_API_KEY"): "none",
    ("S", "OM_ADMIN_TOKEN"): "none",
    ("S", "OM_OIDC_CLIENT_SECRET"): "none",
    ("S", "OM_BURN_TABLE_FILE"): "none",
    ("S", "OM_GRPC_ADDRESS"): "this machine",
    ("P", "OM_GRPC_ADDRESS"): "this machine",
}
_SETTINGS = rows("docs/settings.md", "variable", "default", "read by", "meaning")


def _default(default: object) -> str:
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, enum.Enum):
        return str(default.value)
    return str(default) or "empty"


@pytest.mark.parametrize("reader", _READERS)
def test_the_settings_are_those_of_the_code(reader: str) -> None:
    fields = _READERS[reader].model_fields.values()
    defaults = {str(field.alias): _default(field.default) for field in fields}
    known = {
        variable: _WORDS.get((reader, variable), default) for variable, default in sorted(defaults.items())
    }

    told = {variable: default for variable, default, readers, _ in _SETTINGS if reader in readers.split()}

    assert told == known


def test_every_setting_has_a_meaning_and_is_named_once() -> None:
    names = [row[0] for row in _SETTINGS]

    assert len(set(names)) == len(names)
    assert all(row[3] for row in _SETTINGS)


_ERROR_COLUMNS = ("status", "code", "when", "shape")
_PROBLEMS: tuple[Problem, ...] = (
    problem.missing_billing_headers(),
    problem.invalid_header("x"),
    problem.ambiguous_header("x"),
    problem.invalid_json(),
    problem.invalid_field("x"),
    problem.malformed_request(),
    problem.upgrade_refused(),
    problem.misrouted("x"),
    problem.invalid_api_key(),
    problem.missing_provider_key(Shape.OPENAI),
    problem.missing_platform_key(),
    problem.missing_provider_header(),
    problem.insufficient_credits(needed_nanos=1, available_nanos=0),
    problem.limit_reached(limit_id="x", window="x"),
    problem.user_wallet_required(),
    problem.price_unknown(provider="x", model="x"),
    problem.cost_unbounded("x"),
    problem.wallet_blocked(),
    problem.unknown_route(),
    problem.request_timeout(),
    problem.body_too_large(1),
    problem.encoded_body(),
    problem.proxy_error(),
    problem.upstream_unreachable(Shape.OPENAI, sent=False),
    problem.unavailable(),
    problem.upstream_timeout(Shape.OPENAI),
)


def test_the_errors_of_the_proxy_are_those_of_the_code() -> None:
    told = [(status, code, shape) for status, code, _, shape in rows("docs/errors.md", *_ERROR_COLUMNS)]

    assert told == [(str(made.status), made.code, made.form.value) for made in _PROBLEMS]
    assert {shape for *_, shape in told} == {form.value for form in Form}


def test_no_error_of_the_proxy_is_left_out() -> None:
    text = (ROOT / "proxy/om_proxy/refusals/problem.py").read_text(encoding="utf-8")
    makers = set(re.findall(r"^def ([a-z]\w+)\(", text, re.MULTILINE))

    assert len(makers) == len(_PROBLEMS)


def test_the_headers_of_the_dialects_are_those_of_the_code() -> None:
    told = rows("docs/dialects.md", "header", "by header", "by path", "meaning")

    assert [name for name, *_ in told] == [API_KEY, AUTHORIZATION, PROVIDER_KEY, *HEADERS]
    required = {name for name, by_header, *_ in told if by_header == "required"}
    assert required == {API_KEY, CUSTOMER_ID, USER_ID, FEATURE_ID}
    assert {name for name, _, by_path, _ in told if by_path == "required"} == {AUTHORIZATION, PROVIDER_KEY}


def test_the_headers_of_an_answer_are_those_of_the_code() -> None:
    told = [name for name, *_ in rows("docs/dialects.md", "header", "when", "meaning")]

    assert told == ["x-om-request-id", "x-om-output-cap", "x-om-limit-warning", *cost_headers.NAMES]


_SERVICERS = (
    PeopleServicer,
    AnalyticsServicer,
    EdgeServicer,
    EntitlementServicer,
    IngestionServicer,
    OidcServicer,
    PromptServicer,
    RatingServicer,
    RegistrationServicer,
    AdminServicer,
    WalletServicer,
)


def test_the_rpcs_that_answer_are_those_of_the_code() -> None:
    missing = not_implemented(_SERVICERS)
    answering = {
        service: [rpc.name for rpc in rpcs if f"{service}/{rpc.name}" not in missing]
        for service, rpcs in SERVICES.items()
    }

    told = {row[0]: row[1] for row in rows("docs/grpc.md", "service", "answers today")}

    assert {name: sorted(rpcs.split(", ")) for name, rpcs in told.items()} == {
        name: sorted(rpcs) for name, rpcs in answering.items() if rpcs
    }


def test_the_page_of_documented_operations_is_what_the_tool_writes() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "run python -m tools.list_operations"


def test_the_targets_are_those_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE)) - {"help"}

    assert {target for target, _ in rows("docs/development.md", "target", "what it does")} == {
        f"make {name}" for name in targets
    }
