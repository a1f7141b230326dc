"""The command line: `openmonetize up`, `serve` and what else keeps a platform running, a function each."""

from __future__ import annotations

import asyncio
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from om_server.cli import burn_table_command, command, key_command, verification
from om_server.cli.component import components
from om_server.cli.demo import ALL_CALLS, FIRST_CALL, Addresses, demonstrate
from om_server.cli.doctor import diagnose
from om_server.cli.supervisor import StopSignals, Supervisor, own_service_token, require_free_ports
from om_server.cli.welcome import welcome
from om_server.core.errors import DependencyUnavailable, DomainError
from om_server.failure import CommandFailed
from om_server.observe import configure_logging
from om_server.settings import Environment, Settings, load_local_settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from om_server.cli.component import Component

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(key_command.app, name="keys")
app.add_typer(burn_table_command.app, name="burn-table")
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
    settings = load_local_settings()
    found = components(settings, _service_token(settings))
    require_free_ports(settings.host, found)
    with StopSignals() as signals:
        supervisor = Supervisor(settings.log_dir, held=signals.held)
        try:
            command.prepare(settings)
            _start_all(supervisor, found)
            welcome(settings, [component.name for component in found], _console)
            if demo and settings.environment == Environment.DEVELOPMENT:
                demonstrate(_simulated(settings), (FIRST_CALL,), _console)
            _console.print("Running. Press Ctrl-C to stop.")
            supervisor.wait(_console.print)
        except KeyboardInterrupt:
            _console.print("Stopping; streams that run may take up to half a minute.")
        finally:
            signals.ignore()
            supervisor.stop()


def _service_token(settings: Settings) -> str:
    if settings.service_token is not None:
        return settings.service_token.get_secret_value()
    return own_service_token(settings.data_dir)


def _start_all(supervisor: Supervisor, found: Sequence[Component]) -> None:
    for component in found:
        with _console.status(f"Starting {component.name}"):
            supervisor.start(component)


def _simulated(settings: Settings) -> Addresses:
    return Addresses(
        proxy=f"http://{settings.reach(settings.simulated_proxy_port)}",
        rest=f"http://{settings.reach(settings.rest_port)}",
    )


@app.command()
def serve(
    service: Service,
    *,
    ready_file: Annotated[
        Path | None, typer.Option(help="A file that is there while the worker runs; for worker only.")
    ] = None,
) -> None:
    """Run one process of the platform."""
    if ready_file is not None and service is not Service.WORKER:
        raise typer.BadParameter("--ready-file is for worker; the others answer on their health address")
    if service is Service.PROXY:
        os.execv(sys.executable, [sys.executable, "-m", "om_proxy", "serve"])  # noqa: S606 - our own program
    settings = load_settings()
    configure_logging(settings.log_level, readable=settings.environment == Environment.DEVELOPMENT)
    match service:
        case Service.RPC:
            asyncio.run(command.serve_rpc(settings))
        case Service.REST:
            asyncio.run(command.serve_rest(settings))
        case Service.WORKER:
            asyncio.run(command.serve_worker(settings, ready_file))


@app.command()
def simulator(port: Annotated[int, typer.Option(help="The port to listen on.")] = 8084) -> None:
    """Run the provider simulator, which answers like OpenAI, Anthropic and Gemini."""
    arguments = [sys.executable, "-m", "om_proxy", "simulator", "--port", str(port)]
    os.execv(sys.executable, arguments)  # noqa: S606 - our own program


@app.command()
def migrate(
    *,
    restored: Annotated[
        bool, typer.Option("--restored", help="The database is a restored copy: proxies send again.")
    ] = False,
) -> None:
    """Bring the database up to date."""
    applied = command.migrate_database(load_settings(), restored=restored)
    _console.print("\n".join(applied) if applied else "nothing to do")


@app.command()
def doctor() -> None:
    """Check settings, data, ports and health; say what to do, and exit with 1 if anything is wrong."""
    problems = 0
    for finding in diagnose():
        typer.echo(str(finding))
        problems += finding.problem
    if problems:
        raise typer.Exit(1)


@app.command()
def verify() -> None:
    """Replay every wallet's ledger, name what disagrees, and exit with 1 if anything does."""
    try:
        for line in verification.verify(load_settings()):
            typer.echo(line)
    except verification.LedgerWrong:
        raise typer.Exit(1) from None


@app.command()
def demo() -> None:
    """Send requests of all three providers, streaming and not, to a running platform."""
    demonstrate(_simulated(load_local_settings()), ALL_CALLS, _console)


def main() -> None:
    """Run a command; what a person can mend is one line on standard error, not a trace."""
    # Standard output is for what was asked for; without this, a log line would be on it.
    configure_logging("warning", readable=True)
    try:
        app()
    except DependencyUnavailable as error:
        sys.exit(f"openmonetize: {error}; `openmonetize doctor` looks for the cause")
    except (CommandFailed, DomainError, OSError) as error:
        sys.exit(f"openmonetize: {error}")


if __name__ == "__main__":
    main()
