"""`openmonetize keys create | list | update | revoke`: on the database, or through its server."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from om_server import wiring
from om_server.account.keys.call_settings import CallSettings
from om_server.account.keys.key import KeyChange
from om_server.account.organization import TEAM_DEFAULT
from om_server.cli.call_options import (
    ClampChangeOption,
    ClampOption,
    OnDisconnectOption,
    change_of,
    described,
)
from om_server.cli.command import bring_up_to_date, opened_by_operator, require_migrated
from om_server.cli.key_client import ServerDesk
from om_server.cli.key_desk import DatabaseDesk, KeyOrder
from om_server.cli.own_server import own_server
from om_server.core.clock import MICROS_PER_SECOND, system_clock
from om_server.rpc.caller import Scope
from om_server.settings import load_settings
from om_server.storage.migrate import migrations, pending
from om_server.storage.sqlite import DatabaseOwned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from om_server.account.keys.key import Key
    from om_server.cli.key_desk import KeyDesk
    from om_server.settings import Settings
    from om_server.storage.database import Database

app = typer.Typer(no_args_is_help=True, help="Make, list, change and revoke API keys.")

_NAME_CHARACTERS_MAX = 255
_DESCRIPTION_CHARACTERS_MAX = 1000


class ScopeName(StrEnum):
    """What a key may be made for, as it is typed."""

    INGEST = "ingest"
    PROXY = "proxy"
    READ = "read"
    ADMIN = "admin"


@app.command()
def create(  # noqa: PLR0913 - each is an option of the command
    *,
    team: Annotated[str, typer.Option(help="The team's name; a new one is made.")] = TEAM_DEFAULT,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    scope: Annotated[
        list[ScopeName] | None, typer.Option(help="Repeat for more. Default: ingest, proxy, read.")
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="Every call is simulated and free.")] = False,
    on_disconnect: OnDisconnectOption = None,
    clamp_output: ClampOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the key.")] = False,
) -> None:
    """Make a key and print it, once: standard output holds the key alone, the rest is on standard error."""
    _require_length("--team", team, at_least=1, at_most=_NAME_CHARACTERS_MAX)
    _require_length("--name", name, at_least=0, at_most=_DESCRIPTION_CHARACTERS_MAX)
    order = KeyOrder(
        team=team,
        description=name,
        scopes=frozenset(Scope[one.name] for one in scope or ()),
        test_mode=test,
        calls=change_of(on_disconnect, clamp_output=clamp_output).applied(CallSettings()),
    )
    with _desk(load_settings(), create=True) as desk:
        new = desk.create(order)
    typer.echo(new.secret)
    if not quiet:
        kind = "test key" if test else "key"
        typer.echo(
            f"{kind} {new.key.key_id} of team {team} in {new.key.organization_id} ({_scopes(new.key)});"
            " it is not shown again",
            err=True,
        )


@app.command("list")
def list_keys() -> None:
    """List the keys, oldest first, ended ones too. Secrets are masked."""
    with _desk(load_settings()) as desk:
        keys, teams = desk.all_keys(), desk.team_names()
    now = system_clock()
    rows = [("KEY ID", "KEY", "STATE", "CREATED", "SCOPES", "TEAM", "NAME")]
    rows += [
        (
            key.key_id,
            key.masked_secret,
            _state(key, now),
            _day(key.create_time),
            _scopes(key),
            teams.get(key.team_id, key.team_id),
            key.description,
        )
        for key in keys
    ]
    typer.echo("\n".join(_aligned(rows)))


@app.command()
def update(
    key_id: Annotated[str, typer.Argument(help="As `keys list` shows it.")],
    *,
    name: Annotated[str | None, typer.Option(help="What the key is for.")] = None,
    on_disconnect: OnDisconnectOption = None,
    clamp_output: ClampChangeOption = None,
) -> None:
    """Change what a key is for and what holds for its calls. What is not named stays; all of it is shown."""
    if name is not None:
        _require_length("--name", name, at_least=0, at_most=_DESCRIPTION_CHARACTERS_MAX)
    change = KeyChange(name, change_of(on_disconnect, clamp_output=clamp_output))
    with _desk(load_settings()) as desk:
        key = desk.update(key_id, change)
    typer.echo(f"{key.key_id} ({key.masked_secret}): {described(key.calls)}")


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="As `keys list` shows it.")]) -> None:
    """End a key for good."""
    with _desk(load_settings()) as desk:
        key = desk.revoke(key_id)
    typer.echo(f"{key.key_id} ({key.masked_secret}) is revoked")


@contextlib.contextmanager
def _desk(settings: Settings, *, create: bool = False) -> Iterator[KeyDesk]:
    """Work on the database; where a server owns its file, call that server. `create` may begin a database."""
    with contextlib.ExitStack() as stack:
        try:
            database = stack.enter_context(opened_by_operator(settings))
        except DatabaseOwned:
            yield ServerDesk(stack.enter_context(own_server(settings)))
            return
        if create:
            _begin(database)
        require_migrated(database)
        yield DatabaseDesk(wiring.build(database).account)


def _begin(database: Database) -> None:
    """Migrate a database that has nothing; one in use is migrated when its owner says so."""
    if len(pending(database)) == len(migrations()):
        bring_up_to_date(database)


def _require_length(option: str, value: str, *, at_least: int, at_most: int) -> None:
    """Hold to the contract's limits here too: on the database itself nobody else does."""
    if not at_least <= len(value) <= at_most or "\0" in value:
        raise typer.BadParameter(f"{option} takes {at_least} to {at_most} characters")


def _scopes(key: Key) -> str:
    return ",".join(scope.name.lower() for scope in Scope if scope in key.scopes)


def _state(key: Key, now: int) -> str:
    if key.life.revoke_time is not None:
        return "revoked"
    if key.life.ended(now):
        return "expired"
    return "test" if key.test_mode else "active"


def _day(micros: int) -> str:
    return datetime.fromtimestamp(micros // MICROS_PER_SECOND, UTC).date().isoformat()


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    # Names are other people's text: a control character in one must not reach the terminal.
    rows = [["".join(sign if sign.isprintable() else "?" for sign in cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
