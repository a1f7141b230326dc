"""The one screen that `up` shows when everything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from om_server.cli.demo import DEVELOPMENT_KEY
from om_server.settings import Environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from om_server.settings import Settings

_CURL = """\
curl http://{address}/v1/chat/completions \\
  -H 'Content-Type: application/json' -H 'Authorization: Bearer sk-any' \\
  -H 'X-OM-Api-Key: {key}' -H 'X-OM-Customer-Id: acme' \\
  -H 'X-OM-User-Id: user_123' -H 'X-OM-Feature-Id: ai-chat' \\
  -d '{{"model": "gpt-4o", "max_tokens": 50, "messages": [{{"role": "user", "content": "Hello!"}}]}}'
"""


def welcome(settings: Settings, names: Sequence[str], console: Console) -> None:
    """Print the addresses, where data and logs are, and in development a key and a request to try."""
    development = settings.environment == Environment.DEVELOPMENT
    table = Table(title="OpenMonetize is up", show_header=False, title_justify="left", min_width=72)
    table.add_row("proxy", f"http://{settings.reach(settings.proxy_port)}  (real providers)")
    simulated = settings.reach(settings.simulated_proxy_port)
    if development:
        table.add_row("", f"http://{simulated}  (simulated providers, true charges)")
    table.add_row("REST", f"http://{settings.reach(settings.rest_port)}  (documents at /docs)")
    table.add_row("gRPC", settings.reach(settings.grpc_port))
    table.add_row("data", str(settings.sqlite_path) if settings.on_sqlite else "PostgreSQL")
    table.add_row("logs", f"{settings.log_dir}  ({', '.join(names)})")
    table.add_row("key", DEVELOPMENT_KEY if development else "`openmonetize keys create` makes one")
    if settings.redis_url:
        table.add_row("queue", "Redis")
    console.print(table)
    if development:
        curl = _CURL.format(address=simulated, key=DEVELOPMENT_KEY)
        console.print("Try:", curl, sep="\n", markup=False, soft_wrap=True)
