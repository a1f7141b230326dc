"""What `doctor` finds on the platform's ports: free, served by us and healthy, or somebody else's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from om_server.cli.finding import Finding
from om_server.cli.probe import TAKEN, grpc_serving, http_answer, refusal
from om_server.settings import Environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from om_server.settings import Settings

_PROXY_SERVICE = "ai-proxy-service"
_SIMULATOR_ORGANIZATION = "simulated-organization"
_RPC_SERVICE = "om.account.v1.AccountService"
_NOT_RUNNING = "not running"


@dataclass(frozen=True, slots=True)
class _Listener:
    """A port of ours, and how to tell that it is one of our processes that has it."""

    variable: str
    port: int
    ours: Callable[[str], bool]


def listener_findings(settings: Settings) -> Iterator[Finding]:
    """Check each port once, then the health of what serves there."""
    for listener in _listeners(settings):
        yield _port_finding(settings, listener)
    yield grpc_finding(settings.rpc_target, expected=bool(settings.grpc_address))
    yield rest_finding(settings.reach(settings.rest_port))
    yield proxy_finding("proxy /health/ready", settings.reach(settings.proxy_port))
    if settings.environment is Environment.DEVELOPMENT:
        yield proxy_finding("simulated proxy /health/ready", settings.reach(settings.simulated_proxy_port))


def _listeners(settings: Settings) -> list[_Listener]:
    found = [
        _Listener("OM_GRPC_PORT", settings.grpc_port, _is_rpc),
        _Listener("OM_REST_PORT", settings.rest_port, _is_rest),
        _Listener("OM_INGEST_PORT", settings.ingest_port, _is_rest),
        _Listener("OM_RATING_PORT", settings.rating_port, _is_rest),
        _Listener("OM_PROXY_PORT", settings.proxy_port, _is_proxy),
    ]
    if settings.environment is Environment.DEVELOPMENT:
        found += [
            _Listener("OM_SIMULATED_PROXY_PORT", settings.simulated_proxy_port, _is_proxy),
            _Listener("OM_SIMULATOR_PORT", settings.simulator_port, _is_simulator),
        ]
    return found


def _port_finding(settings: Settings, listener: _Listener) -> Finding:
    check = f"port {listener.port} ({listener.variable})"
    reason = refusal(settings.host, listener.port)
    if not reason:
        return Finding(check, "free")
    if reason == TAKEN and listener.ours(settings.reach(listener.port)):
        return Finding(check, "served by OpenMonetize")
    by = " by another program" if reason == TAKEN else ""
    return Finding(check, f"{reason}{by}", remedy=f"set {listener.variable} to another port")


def grpc_finding(target: str, *, expected: bool) -> Finding:
    """Whether the gRPC server is healthy. `expected` says that a setting names it, so it has to be there."""
    match grpc_serving(target):
        case True:
            return Finding("gRPC health", f"{target} serves")
        case False:
            return Finding("gRPC health", f"{target} does not serve", remedy="see the log of rpc")
        case None if expected:
            remedy = "start it there or correct OM_GRPC_ADDRESS"
            return Finding("gRPC health", f"no server answers at {target}", remedy=remedy)
        case None:
            return Finding("gRPC health", _NOT_RUNNING)


def rest_finding(address: str) -> Finding:
    """Whether REST answers, and finds the gRPC server."""
    if not _is_rest(address):
        return Finding("REST /health", _NOT_RUNNING)
    ready = http_answer(f"http://{address}/ready")
    if ready is None or not ready.ok:
        remedy = "start the gRPC server or correct OM_GRPC_ADDRESS of REST"
        return Finding("REST /health", f"{address} answers but has no gRPC server", remedy=remedy)
    return Finding("REST /health", f"{address} is ready")


def proxy_finding(check: str, address: str) -> Finding:
    """Whether a proxy can admit calls."""
    if not _is_proxy(address):
        return Finding(check, _NOT_RUNNING)
    ready = http_answer(f"http://{address}/health/ready")
    if ready is None or not ready.ok:
        remedy = "start the gRPC server or correct OM_GRPC_ADDRESS and OM_SERVICE_TOKEN of the proxy"
        return Finding(check, f"{address} cannot admit calls", remedy=remedy)
    return Finding(check, f"{address} is ready")


def _is_rpc(address: str) -> bool:
    return grpc_serving(address, _RPC_SERVICE) is not None


def _is_rest(address: str) -> bool:
    answer = http_answer(f"http://{address}/health")
    return answer is not None and answer.body.get("status") == "ok" and "timestamp" in answer.body


def _is_proxy(address: str) -> bool:
    answer = http_answer(f"http://{address}/health")
    return answer is not None and answer.body.get("service") == _PROXY_SERVICE


def _is_simulator(address: str) -> bool:
    answer = http_answer(f"http://{address}/")
    return answer is not None and answer.headers.get("openai-organization") == _SIMULATOR_ORGANIZATION
