"""`openmonetize burn-table apply`: burn tables of a file, on the database itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from om_server import wiring
from om_server.cli.command import apply_burn_tables, opened_by_operator, require_migrated
from om_server.core.clock import MICROS_PER_SECOND
from om_server.settings import load_settings

if TYPE_CHECKING:
    from om_server.rating.burn_table_operations import AppliedTable

app = typer.Typer(no_args_is_help=True, help="Apply burn tables: what a usage is charged in credits.")


@app.callback()
def group() -> None:
    """Keep `apply` a command of its own: typer would make a single one the whole group."""


@app.command()
def apply(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A burntable.json.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would apply; write nothing.")] = False,
) -> None:
    """Store and activate the tables of a file, all or none. Applying it again changes nothing.

    Where a server owns a SQLite file, stop it first, or give it the file as OM_BURN_TABLE_FILE.
    """
    with opened_by_operator(load_settings()) as database:
        require_migrated(database)
        applied = apply_burn_tables(path, wiring.build(database), dry_run=dry_run)
    for one in applied:
        typer.echo(_line(one))
    if dry_run:
        typer.echo("nothing is written", err=True)


def _line(applied: AppliedTable) -> str:
    whom = f"customer {applied.table.customer_id}" if applied.table.customer_id else "everybody"
    since = datetime.fromtimestamp(applied.effective_time // MICROS_PER_SECOND, UTC).isoformat()
    state = f"applies from {since}" if applied.changed else "unchanged"
    return f"{applied.table.display_name} ({whom}): {state}"
