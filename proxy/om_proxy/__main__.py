"""The proxy's commands: `python -m om_proxy serve | simulator`."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import structlog
import typer
import uvloop

from om_proxy.app import serve as serve_proxy
from om_proxy.providers import sandbox
from om_proxy.settings import SettingsInvalid, load_settings
from om_proxy.stop_signal import stop_signal

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def serve() -> None:
    """Run the proxy in front of the providers that the settings name."""
    settings = load_settings()
    _configure_logging(settings.log_level, readable=settings.environment == "development")
    uvloop.run(serve_proxy(settings))


@app.command()
def simulator(port: Annotated[int, typer.Option(help="The port to listen on.")] = 8084) -> None:
    """Run the provider simulator, which answers like OpenAI, Anthropic and Gemini."""
    uvloop.run(_simulate(port))


async def _simulate(port: int) -> None:
    async with sandbox.running(port=port) as running:
        typer.echo(f"simulator on {running.url}")
        await stop_signal()


def _configure_logging(level: str, *, readable: bool) -> None:
    """Log to standard error, without ever formatting a request: JSON, or readable in development."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    renderer = (
        structlog.dev.ConsoleRenderer(colors=False) if readable else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # aiohttp quotes offending header bytes when it logs a malformed request, keys included.
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s")


def main() -> None:
    """Run a command; what a person can mend is one line on standard error, not a trace."""
    try:
        app()
    except (SettingsInvalid, OSError) as error:
        sys.exit(f"om_proxy: {error}")


if __name__ == "__main__":
    main()
