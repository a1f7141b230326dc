"""The proxy's commands: `python -m om_proxy serve | simulator`."""

from __future__ import annotations

import atexit
import logging
import sys
from typing import Annotated

import structlog
import typer
import uvloop

from om_proxy.app import EdgeUnavailable
from om_proxy.app import serve as serve_proxy
from om_proxy.descriptors import take_all_descriptors
from om_proxy.log_sink import KindFormatter, LogSink
from om_proxy.providers import sandbox
from om_proxy.settings import SettingsInvalid, load_settings
from om_proxy.stop_signal import stop_signal
from om_proxy.workers import WorkersFailed, end_with_parent, serve_with_workers

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def serve(
    *,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes that share the port; OM_PROXY_WORKERS.")
    ] = None,
) -> None:
    """Run the proxy in front of the providers that the settings name."""
    settings = load_settings() if workers is None else load_settings(OM_PROXY_WORKERS=workers)
    _configure_logging(settings.log_level, readable=settings.environment == "development")
    take_all_descriptors()
    if settings.workers == 1:
        uvloop.run(serve_proxy(settings))
    else:
        uvloop.run(serve_with_workers(settings))


@app.command(hidden=True)
def worker(number: int) -> None:
    """Run one of the workers of `serve`, until its standard input ends."""
    settings = load_settings()
    _configure_logging(settings.log_level, readable=settings.environment == "development")
    end_with_parent()
    uvloop.run(serve_proxy(settings, worker=number))


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
    sink = LogSink(sys.stderr)
    atexit.register(sink.close)
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
        logger_factory=structlog.WriteLoggerFactory(sink),  # type: ignore[arg-type]  # It only writes.
    )
    # aiohttp quotes offending header bytes when it logs a malformed request, keys included.
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
    handler = logging.StreamHandler(sink)
    handler.setFormatter(KindFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def main() -> None:
    """Run a command; what a person can mend is one line on standard error, not a trace."""
    try:
        app()
    except (SettingsInvalid, EdgeUnavailable, WorkersFailed, OSError) as error:
        sys.exit(f"om_proxy: {error}")


if __name__ == "__main__":
    main()
