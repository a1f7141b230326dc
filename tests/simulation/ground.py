"""What every seed begins with: two models that have a price, and three organizations with two keys each."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING, NamedTuple

from om_server.account.keys.key import KeyWish
from om_server.rating.catalogue import load_catalogue
from om_server.rating.operations import RatingOperations
from tests.server.pipeline.harness import SetClock, Tenant, World
from tests.simulation.tariff import LISTED

if TYPE_CHECKING:
    from om_server.rating.catalogue import Catalogue
    from om_server.storage.database import Database


class Ground(NamedTuple):
    """Shared by all seeds; the organizations are in the template of their databases."""

    catalogue: Catalogue
    tenants: tuple[Tenant, Tenant, Tenant]
    keys: dict[str, list[str]]


def listed() -> Catalogue:
    """Return the part of the catalogue that is used: a book of all of it takes longer than a seed."""
    catalogue = load_catalogue()
    return dataclasses.replace(
        catalogue,
        prices=tuple(price for price in catalogue.prices if price.model in LISTED),
        models=tuple(model for model in catalogue.models if model.name in LISTED),
    )


def break_ground(database: Database) -> Ground:
    """Make the organizations in a migrated database."""
    catalogue, clock = listed(), SetClock()
    rating = RatingOperations(catalogue, clock=clock)
    world = World(database, rating, clock, random_bytes=random.Random("ground").randbytes)
    tenants = world.tenant("Strict"), world.tenant("Soft"), world.tenant("None yet")
    keys = {
        tenant.organization_id: [
            tenant.key_id,
            world.account.create_key(tenant.organization_id, KeyWish(tenant.team_id)).key.key_id,
        ]
        for tenant in tenants
    }
    return Ground(catalogue, tenants, keys)
