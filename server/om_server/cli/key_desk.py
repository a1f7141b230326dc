"""Keys as a person at the command line handles them, on the database itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from om_server.account.keys.call_settings import CallSettings
from om_server.account.keys.key import KeyWish
from om_server.account.organization import TEAM_DEFAULT
from om_server.core.page import PAGE_SIZE_MAX, PageRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from om_server.account.keys.key import Key, KeyChange, NewKey
    from om_server.account.operations import AccountOperations
    from om_server.account.organization import Team
    from om_server.rpc.caller import Scope

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """What somebody asks for. The team is made if there is none; no scopes means the usual three."""

    team: str = TEAM_DEFAULT
    description: str = ""
    scopes: frozenset[Scope] = frozenset()
    test_mode: bool = False
    calls: CallSettings = field(default_factory=CallSettings)


class KeyDesk(Protocol):
    """Where keys are made: the database, or the server that owns it."""

    def create(self, order: KeyOrder) -> NewKey:
        """Make a key, and its team if that is new."""

    def all_keys(self) -> list[Key]:
        """Every key of the organization, oldest first, ended ones too."""

    def team_names(self) -> Mapping[str, str]:
        """What people call the teams, by id."""

    def update(self, key_id: str, change: KeyChange) -> Key:
        """Change what a key is for and what holds for its calls."""

    def revoke(self, key_id: str) -> Key:
        """End a key for good."""


class DatabaseDesk:
    """Works for the oldest organization of a database, which is made if there is none."""

    def __init__(self, accounts: AccountOperations) -> None:
        self._accounts = accounts
        self._organization_id = accounts.default_organization().organization_id

    def create(self, order: KeyOrder) -> NewKey:
        team = self._accounts.ensure_team(self._organization_id, order.team)
        wish = KeyWish(
            team_id=team.team_id,
            description=order.description,
            scopes=order.scopes,
            test_mode=order.test_mode,
            calls=order.calls,
        )
        return self._accounts.create_key(self._organization_id, wish)

    def all_keys(self) -> list[Key]:
        return collected(lambda token: self._page_of_keys(PageRequest(PAGE_SIZE_MAX, token)))

    def team_names(self) -> Mapping[str, str]:
        teams = collected(lambda token: self._page_of_teams(PageRequest(PAGE_SIZE_MAX, token)))
        return {team.team_id: team.display_name for team in teams}

    def update(self, key_id: str, change: KeyChange) -> Key:
        return self._accounts.update_key(self._organization_id, key_id, change)

    def revoke(self, key_id: str) -> Key:
        return self._accounts.revoke_key(self._organization_id, key_id)

    def _page_of_keys(self, request: PageRequest) -> tuple[Iterable[Key], str]:
        page = self._accounts.list_keys(self._organization_id, request)
        return page.items, page.next_page_token

    def _page_of_teams(self, request: PageRequest) -> tuple[Iterable[Team], str]:
        page = self._accounts.list_teams(self._organization_id, request)
        return page.items, page.next_page_token


def collected(fetch: Callable[[str], tuple[Iterable[T], str]]) -> list[T]:
    """Join the pages of a list: `fetch` takes a page token and gives the items and the next token."""
    items, token = fetch("")
    found = list(items)
    while token:
        items, token = fetch(token)
        found += items
    return found
