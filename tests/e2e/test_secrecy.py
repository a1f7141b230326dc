"""No key, no prompt and no answer is in a log line or in the database, whatever way a call ends."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import TYPE_CHECKING

import grpc
import httpx
import pytest
import structlog

from om.account.v1 import account_service_pb2 as account_pb
from om.account.v1 import account_service_pb2_grpc as account_grpc
from tests.e2e.family import FAMILIES, GEMINI, Family
from tests.e2e.installation import SERVICE_TOKEN, Installation
from tests.e2e.tenant import PATIENCE_S, Tenant

if TYPE_CHECKING:
    from collections.abc import Iterator

_USER_ID = "user-who-may-be-stored"
_PROMPT = "The marker of this prompt is heliotrope-7421, and nobody may keep it."
_PROVIDER_KEY = "sk-provider-marker-9c41f07d55e2"
_WRONG_KEY = "om_live_" + "fedcba9876543210" * 4
#: How the simulator begins every answer.
_ANSWER = "The simulator answers every question"
#: What each process is sure to count here.
_SIGNS = {
    "rpc": 'om_rpc_calls_total{code="OK",rpc="om.ingestion.v1.IngestionService/IngestEvents"}',
    "worker": 'om_settled_events_total{state="RATED"}',
    "rest": 'om_rest_requests_total{operation="',
    "proxy": 'om_proxy_outcomes_total{outcome="CHARGED"}',
    "offline-proxy": "om_proxy_provider_errors_total",
}
#: So much of a key is too much; its masked form shows less.
_PIECE = 12
#: The test's own client logs what it sends.
_CLIENT_LOGGERS = ("httpx", "httpcore")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Catch every line of the platform and of its libraries, as production writes them, down to debug."""
    written = io.StringIO()
    before = structlog.get_config()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(written),
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(written)
    handler.addFilter(lambda record: not record.name.startswith(_CLIENT_LOGGERS))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.setLevel(level)
    root.removeHandler(handler)
    structlog.configure(**before)


@pytest.mark.acceptance("B-161", "B-162", "B-163")
def test_neither_logs_nor_database_hold_a_key_a_prompt_or_an_answer(
    installation: Installation, log: io.StringIO
) -> None:
    tenant, poor = installation.tenant("100"), installation.tenant("0.000001")

    for family in FAMILIES:
        _answered(installation, tenant, family)
        _refused(installation, tenant, family)
        _refused(installation, poor, family)
        _broken(installation, tenant, family)
    _reported(installation, tenant)
    _authenticated(installation, tenant)
    # Three answered, four broken, for each provider; Gemini was answered once more.
    tenant.events(7 * len(FAMILIES) + 1)

    lines, stored = log.getvalue() + installation.logs(), installation.stored.dump().decode(errors="replace")
    assert all(sign in lines for sign in ("request_refused", "rpc_answered", "upstream_broken", "SELECT"))
    assert _USER_ID in stored
    metrics = installation.measured()
    for name, sign in _SIGNS.items() if metrics else ():
        assert sign in metrics[name]
    told = "".join(metrics.values())
    # As the role that row-level security guards.
    assert not metrics or "om_store_up 1.0" in told
    assert _USER_ID not in told
    assert tenant.organization_id not in told
    for where in (lines, stored, told):
        for key in (tenant.key, poor.key, _WRONG_KEY, _PROVIDER_KEY, SERVICE_TOKEN):
            assert not [piece for piece in _pieces(key) if piece in where]
        assert "heliotrope" not in where
        assert _ANSWER not in where


def _pieces(key: str) -> list[str]:
    secret = key.removeprefix("om_live_")
    return [secret[start : start + _PIECE] for start in range(len(secret) - _PIECE + 1)]


def _send(
    installation: Installation, url: str, headers: dict[str, str], family: Family, body: bytes | None = None
) -> int:
    sent = {**family.credential(_PROVIDER_KEY), **headers}
    content = family.body(_PROMPT) if body is None else body
    return installation.web.post(url, content=content, headers=sent).status_code


def _answered(installation: Installation, tenant: Tenant, family: Family) -> None:
    addresses, headers = installation.addresses, tenant.billing(_USER_ID)
    whole, stream = f"{addresses.proxy}{family.path}", f"{addresses.proxy}{family.stream_path}"

    assert _send(installation, whole, headers, family) == 200
    assert _send(installation, stream, headers, family, family.body(_PROMPT, stream=True)) == 200
    in_sandbox = {**headers, "X-Sandbox": "true"}
    assert _send(installation, f"{addresses.offline_proxy}{family.path}", in_sandbox, family) == 200
    if family is GEMINI:
        answer = installation.web.post(
            f"{whole}?key={_PROVIDER_KEY}", content=family.body(_PROMPT), headers=headers
        )
        assert answer.status_code == 200


def _refused(installation: Installation, tenant: Tenant, family: Family) -> None:
    url, headers = f"{installation.addresses.proxy}{family.path}", tenant.billing(_USER_ID)

    assert _send(installation, url, {**headers, "X-OM-Api-Key": _WRONG_KEY}, family) == 401
    assert _send(installation, url, {**headers, "X-OM-User-Id": ""}, family) == 400
    assert _send(installation, url, headers, family, family.body(_PROMPT)[:-1]) == 400
    assert _send(installation, f"{url}/{_PROVIDER_KEY}", headers, family) in {400, 404}
    if tenant.funds().available == 1_000:
        assert _send(installation, url, headers, family) == 402


def _broken(installation: Installation, tenant: Tenant, family: Family) -> None:
    addresses = installation.addresses
    headers = tenant.billing(_USER_ID)
    url = f"{addresses.proxy}{family.path}"

    assert _send(installation, f"{addresses.offline_proxy}{family.path}", headers, family) == 502
    assert _send(installation, url, {**headers, "X-Sim": "drop=1"}, family) == 502
    assert _send(installation, url, {**headers, "X-Sim": "error=500"}, family) == 500
    with pytest.raises(httpx.RemoteProtocolError):
        _send(
            installation,
            f"{addresses.proxy}{family.stream_path}",
            {**headers, "X-Sim": "abort_after=5" if family is not GEMINI else "abort_after=2"},
            family,
            family.body(_PROMPT, stream=True),
        )


def _reported(installation: Installation, tenant: Tenant) -> None:
    """Send reports that are refused: with a wrong key, and with the prompt where it does not belong."""
    web, wrong = installation.web, {"X-API-Key": _WRONG_KEY}
    bearer = {"Authorization": f"Bearer {tenant.key}"}
    misplaced = {"events": [{"eventId": "one", "prompt": _PROMPT}]}

    assert web.post("/v1/events/ingest", json={"events": [{}]}, headers=wrong).status_code == 401
    assert web.post("/api/v1/events", json=misplaced, headers=bearer).status_code == 400
    assert web.post("/v1/events/ingest", content=_PROMPT, headers=bearer).status_code == 400
    assert web.post("/v1/events/ingest", json={"events": [_PROMPT]}, headers=bearer).status_code == 400
    assert web.get(f"/v1/nothing?key={_PROVIDER_KEY}", headers=bearer).status_code == 404


def _authenticated(installation: Installation, tenant: Tenant) -> None:
    """Ask as an edge does whose keys these are."""
    service = (("authorization", f"Bearer {SERVICE_TOKEN}"),)
    with contextlib.closing(grpc.insecure_channel(installation.addresses.grpc)) as channel:
        accounts = account_grpc.AccountServiceStub(channel)
        found = accounts.AuthenticateKey(
            account_pb.AuthenticateKeyRequest(secret=tenant.key), metadata=service, timeout=PATIENCE_S
        )
        assert found.organization_id == tenant.organization_id
        with pytest.raises(grpc.RpcError):
            accounts.AuthenticateKey(
                account_pb.AuthenticateKeyRequest(secret=_WRONG_KEY), metadata=service, timeout=PATIENCE_S
            )
