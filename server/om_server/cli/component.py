"""The processes that make up the platform on one machine: how each is started and when it is ready."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from om_server.cli.probe import connects, grpc_serving, http_ready
from om_server.settings import Environment, SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from om_server.settings import Settings

_SERVER = (sys.executable, "-m", "om_server", "serve")
_PROXY = (sys.executable, "-m", "om_proxy")

_METRICS_PORT = "OM_METRICS_PORT"
#: Where each process is measured, from the port that was set on. A proxy has one for each of its workers.
_METRICS_PORTS = {"rpc": 0, "worker": 1, "rest": 2, "proxy": 10, "simulated-proxy": 300}
_METRICS_PORT_MAX = 65_535 - 600


@dataclass(frozen=True, slots=True)
class Component:
    """A process: how it is started, which ports it takes, and how to tell that it is ready."""

    name: str
    arguments: Sequence[str]
    ready: Callable[[], bool]
    #: By the variable that moves each.
    ports: Mapping[str, int] = field(default_factory=dict)
    #: Added to this process's own. It holds the service token.
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: A file that the process makes when it is ready; one from before must not count.
    ready_file: Path | None = None
    #: Whether it goes on from its own folder after it was killed, so that it is started again.
    resumes: bool = False


def components(settings: Settings, service_token: str) -> list[Component]:
    """Every process of the platform, in the order in which they start."""
    if settings.metrics_port > _METRICS_PORT_MAX:
        reason = f"`up` needs the ports behind it, so at most {_METRICS_PORT_MAX}"
        raise SettingsInvalid(f"{_METRICS_PORT}: {reason}")
    shared = {
        "OM_ENV": settings.environment.value,
        "OM_DATA_DIR": str(settings.data_dir),
        "OM_SERVICE_TOKEN": service_token,
        "OM_GRPC_ADDRESS": settings.reach(settings.grpc_port),
        "LOG_LEVEL": settings.log_level,
    }
    found = [_rpc(settings, shared)]
    if not settings.on_sqlite:
        found.append(_worker(settings, shared))
    found += [_rest(settings, shared), _proxy(settings, shared)]
    if settings.environment == Environment.DEVELOPMENT:
        found += _simulated(settings, shared)
    return [_measured(component, settings.metrics_port) for component in found]


def _measured(component: Component, first_port: int) -> Component:
    """Give each process a port for Prometheus, or none; all would take the same one from the environment."""
    behind = _METRICS_PORTS.get(component.name)
    port = first_port + behind if first_port and behind is not None else 0
    environment = {**component.environment, _METRICS_PORT: str(port)}
    # The ports of a proxy's workers are those that follow.
    ports = {**component.ports, **({_METRICS_PORT: port} if port else {})}
    return replace(component, environment=environment, ports=ports)


def _rpc(settings: Settings, shared: Mapping[str, str]) -> Component:
    target = settings.reach(settings.grpc_port)
    return Component(
        name="rpc",
        arguments=[*_SERVER, "rpc"],
        ready=lambda: grpc_serving(target) is True,
        ports={"OM_GRPC_PORT": settings.grpc_port},
        environment=shared,
    )


def _worker(settings: Settings, shared: Mapping[str, str]) -> Component:
    ready_file = settings.data_dir / "worker.ready"
    return Component(
        name="worker",
        arguments=[*_SERVER, "worker", "--ready-file", str(ready_file)],
        ready=ready_file.exists,
        environment=shared,
        ready_file=ready_file,
    )


def _rest(settings: Settings, shared: Mapping[str, str]) -> Component:
    url = f"http://{settings.reach(settings.rest_port)}/ready"
    return Component(
        name="rest",
        arguments=[*_SERVER, "rest"],
        ready=lambda: http_ready(url),
        ports={
            "OM_REST_PORT": settings.rest_port,
            "OM_INGEST_PORT": settings.ingest_port,
            "OM_RATING_PORT": settings.rating_port,
        },
        environment=shared,
    )


def _proxy(settings: Settings, shared: Mapping[str, str]) -> Component:
    url = f"http://{settings.reach(settings.proxy_port)}/health/ready"
    return Component(
        name="proxy",
        arguments=[*_PROXY, "serve"],
        ready=lambda: http_ready(url),
        ports={"OM_PROXY_PORT": settings.proxy_port},
        resumes=True,
        environment={
            **shared,
            "OM_PROXY_PORT": str(settings.proxy_port),
            "OM_PROXY_JOURNAL_DIR": str(settings.data_dir / "journal"),
        },
    )


def _simulated(settings: Settings, shared: Mapping[str, str]) -> list[Component]:
    """The provider simulator, and a second proxy in front of it: true charges without a provider's key."""
    port = settings.simulator_port
    # The simulator listens on this address alone, whatever the others listen on.
    simulator = f"http://127.0.0.1:{port}"
    upstreams = dict.fromkeys(
        ("OM_OPENAI_BASE_URL", "OM_ANTHROPIC_BASE_URL", "OM_GEMINI_BASE_URL"), simulator
    )
    proxy_port = settings.simulated_proxy_port
    url = f"http://{settings.reach(proxy_port)}/health/ready"
    return [
        Component(
            name="simulator",
            arguments=[*_PROXY, "simulator", "--port", str(port)],
            ready=lambda: connects("127.0.0.1", port),
            ports={"OM_SIMULATOR_PORT": port},
            environment=shared,
        ),
        Component(
            name="simulated-proxy",
            arguments=[*_PROXY, "serve"],
            ready=lambda: http_ready(url),
            ports={"OM_SIMULATED_PROXY_PORT": proxy_port},
            resumes=True,
            environment={
                **shared,
                **upstreams,
                "OM_PROXY_PORT": str(proxy_port),
                # Two proxies never share a journal.
                "OM_PROXY_JOURNAL_DIR": str(settings.data_dir / "simulated-journal"),
            },
        ),
    ]
