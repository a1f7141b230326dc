"""What an organization that registers itself gives: an address and a plan."""

import enum
from dataclasses import dataclass


class Tier(enum.StrEnum):
    """The published plans; labels, and quotas where those are set."""

    STARTER = "STARTER"
    GROWTH = "GROWTH"
    ENTERPRISE = "ENTERPRISE"


@dataclass(frozen=True, slots=True)
class Registration:
    """Where an organization is reached, and its plan. One that did not register itself has no address."""

    email: str = ""
    tier: Tier = Tier.STARTER
