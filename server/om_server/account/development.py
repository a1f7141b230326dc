"""The organization of development: the same ids and the same public key on every machine, for examples."""

from om_server.account.keys.key import Key, KeyLife, masked
from om_server.account.organization import TEAM_DEFAULT, Organization, Team
from om_server.rpc.caller import Scope

ORGANIZATION_ID = "org_00000000000000000000000dev"
TEAM_ID = "team_00000000000000000000000dev"
KEY_ID = "key_00000000000000000000000dev"


def organization(now: int) -> Organization:
    return Organization(ORGANIZATION_ID, "Development", now)


def team(now: int) -> Team:
    return Team(ORGANIZATION_ID, TEAM_ID, TEAM_DEFAULT, now)


def key(secret: str, now: int) -> Key:
    """Return the key that may do everything in this one organization. Calls with it are real ones."""
    return Key(
        organization_id=ORGANIZATION_ID,
        key_id=KEY_ID,
        team_id=TEAM_ID,
        description="Development key, public on purpose",
        masked_secret=masked(secret),
        scopes=frozenset(Scope),
        test_mode=False,
        life=KeyLife(),
        create_time=now,
    )
