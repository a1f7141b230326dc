"""Who is billed in a crash test: organizations with keys, wallets and one plain burn table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from om_server import wiring
from om_server.account.keys.key import KeyWish
from om_server.core.clock import system_clock
from om_server.core.page import PageRequest
from om_server.rpc.caller import Scope
from om_server.storage.migrate import migrate
from om_server.wallet.funding import Deposit
from om_server.wallet.wallet import Owner, OwnerKind

if TYPE_CHECKING:
    from om_server.storage.database import Database

CREDIT = 10**9
#: Nano-credits for a token in and out; the table says the same in credits for a million.
RATE_IN, RATE_OUT = 1_000_000, 5_000_000
_RULES = {"provider": "openai", "rates": {"input_tokens": "1000", "output_tokens": "5000"}}
_TABLE = {"format": 1, "currency": "CREDITS", "tables": [{"name": "Plain", "rules": [_RULES]}]}

#: Longer than any clock of these tests is wrong.
_AGE_US = 2 * 3_600 * 10**6
#: Credits of each wallet. Edges empty the small one; applications report more than the poor one has.
_WALLETS = {("organization", ""): 1_000_000, ("user", "small"): 12, ("user", "poor"): 3}


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet and what it was given, in nano-credits."""

    organization_id: str
    wallet_id: str
    user_id: str
    granted: int


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organization, its key, and its wallets by user; the organization's own has no user."""

    organization_id: str
    key_id: str
    secret: str
    wallets: dict[str, Wallet]


def charge_of(tokens_in: int, tokens_out: int) -> int:
    """What usage costs under the table, in nano-credits."""
    return tokens_in * RATE_IN + tokens_out * RATE_OUT


def settle_estate(database: Database, *, count: int = 2) -> list[Tenant]:
    """Migrate a database and make the organizations in it, two hours ago, so that all is in force."""
    migrate(database, incarnation="inc_first", now_us=0)
    platform = wiring.build(database, clock=lambda: system_clock() - _AGE_US)
    tenants = []
    for number in range(count):
        organization_id = platform.account.create_organization(f"Tenant {number}").organization_id
        (team,) = platform.account.list_teams(organization_id, PageRequest(1, "")).items
        wish = KeyWish(team.team_id, scopes=frozenset(Scope))
        key = platform.account.create_key(organization_id, wish)
        platform.burn_tables.apply_file(organization_id, json.dumps(_TABLE))
        wallets = {}
        for (kind, user_id), amount in _WALLETS.items():
            owner = Owner.of(organization_id, OwnerKind(kind), owner_id=user_id)
            deposit = Deposit(owner, amount * CREDIT, f"grant-{user_id}")
            platform.wallet.grant_credits(organization_id, deposit)
            wallet_id = platform.wallet.get_wallet(organization_id, owner=owner).wallet_id
            wallets[user_id] = Wallet(organization_id, wallet_id, user_id, amount * CREDIT)
        tenants.append(Tenant(organization_id, key.key.key_id, key.secret, wallets))
    return tenants
