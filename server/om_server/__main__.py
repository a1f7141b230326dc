"""The command line: `openmonetize up | serve | simulator | migrate | demo`."""

from __future__ import annotations

import asyncio
import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from om_server import command
from om_server.core.errors import DomainError
from om_server.demo import ALL_CALLS, FIRST_CALL, Addresses, demonstrate
from om_server.observe import configure_logging
from om_server.settings import Environment, Settings, SettingsInvalid, load_settings
from om_server.supervisor import StartFailed, Supervisor, components, own_service_token, require_free_ports

if TYPE_CHECKING:
    from collections.abc import Sequence

    from om_server.supervisor import Component

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
_console = Console()


class Service(StrEnum):
    """What `serve` can run."""

    RPC = "rpc"
    REST = "rest"
    WORKER = "worker"
    PROXY = "proxy"


@app.command()
def up(
    *, demo: Annotated[bool, typer.Option("--demo", help="Send one request and show it metered.")] = False
) -> None:
    """Run the whole platform on this machine, with SQLite and no other service."""
    os.environ.setdefault("OM_ENV", Environment.DEVELOPMENT)
    settings = load_settings()
    found = components(settings, own_service_token(settings.data_dir))
    require_free_ports(settings.host, found)
    command.prepare(settings)
    supervisor = Supervisor(settings.data_dir / "logs")
    try:
        _start_all(supervisor, found)
        _welcome(settings, found)
        if demo and settings.environment == Environment.DEVELOPMENT:
            demonstrate(_simulated(settings), (FIRST_CALL,), _console)
            _console.print("Running. Press Ctrl-C to stop.")
        ended = supervisor.wait()
        raise StartFailed(f"{ended} ended by itself; see {settings.data_dir / 'logs'}")
    except KeyboardInterrupt:
        _console.print("Stopping.")
    finally:
        supervisor.stop()


def _start_all(supervisor: Supervisor, found: Sequence[Component]) -> None:
    for component in found:
        with _console.status(f"Starting {component.name}"):
            supervisor.start(component)


def _simulated(settings: Settings) -> Addresses:
    host = settings.host
    return Addresses(
        proxy=f"http://{host}:{settings.simulated_proxy_port}", rest=f"http://{host}:{settings.rest_port}"
    )


def _welcome(settings: Settings, found: Sequence[Component]) -> None:
    host, development = settings.host, settings.environment == Environment.DEVELOPMENT
    table = Table(title="OpenMonetize is up", show_header=False, title_justify="left", min_width=72)
    table.add_row("proxy", f"http://{host}:{settings.proxy_port}  (real providers)")
    if development:
        address = f"http://{host}:{settings.simulated_proxy_port}"
        table.add_row("", f"{address}  (simulated providers, true charges)")
    table.add_row("REST", f"http://{host}:{settings.rest_port}  (documents at /docs)")
    table.add_row("gRPC", settings.rpc_target)
    table.add_row("data", str(settings.sqlite_path if settings.on_sqlite else "PostgreSQL"))
    names = ", ".join(component.name for component in found)
    table.add_row("logs", f"{settings.data_dir / 'logs'}  ({names})")
    if development:
        table.add_row("key", "om_dev_test_key")
    _console.print(table)
    if development:
        curl = _CURL.format(host=host, port=settings.simulated_proxy_port)
        _console.print("Try:", curl, sep="\n", markup=False)


_CURL = """\
curl http://{host}:{port}/v1/chat/completions \\
  -H 'Content-Type: application/json' -H 'Authorization: Bearer sk-any' \\
  -H 'X-OM-Api-Key: om_dev_test_key' -H 'X-OM-Customer-Id: acme' \\
  -H 'X-OM-User-Id: user_123' -H 'X-OM-Feature-Id: ai-chat' \\
  -d '{{"model": "gpt-4o", "max_tokens": 50, "messages": [{{"role": "user", "content": "Hello!"}}]}}'
"""


@app.command()
def serve(service: Service) -> None:
    """Run one process of the platform."""
    if service is Service.PROXY:
        os.execv(sys.executable, [sys.executable, "-m", "om_proxy", "serve"])  # noqa: S606 - our own program
    settings = load_settings()
    configure_logging(settings.log_level, readable=settings.environment == Environment.DEVELOPMENT)
    runs = {
        Service.RPC: command.serve_rpc,
        Service.REST: command.serve_rest,
        Service.WORKER: command.serve_worker,
    }
    asyncio.run(runs[service](settings))


@app.command()
def simulator(port: Annotated[int, typer.Option(help="The port to listen on.")] = 8084) -> None:
    """Run the provider simulator, which answers like OpenAI, Anthropic and Gemini."""
    arguments = [sys.executable, "-m", "om_proxy", "simulator", "--port", str(port)]
    os.execv(sys.executable, arguments)  # noqa: S606 - our own program


@app.command()
def migrate() -> None:
    """Bring the database up to date."""
    applied = command.migrate_database(load_settings())
    _console.print("\n".join(applied) if applied else "nothing to do")


@app.command()
def demo() -> None:
    """Send requests of all three providers, streaming and not, to a running platform."""
    os.environ.setdefault("OM_ENV", Environment.DEVELOPMENT)
    demonstrate(_simulated(load_settings()), ALL_CALLS, _console)


def main() -> None:
    """Run a command; what a person can mend is one line on standard error, not a trace."""
    try:
        app()
    except (SettingsInvalid, StartFailed, DomainError, TimeoutError, OSError) as error:
        sys.exit(f"openmonetize: {error}")


if __name__ == "__main__":
    main()
