"""With Redis, what another process commits is told at once; without it, at the next interval."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from om_server.pipeline.poller import Poller
from om_server.storage.change_hint import Announcer, Listener
from tests.server.pipeline.test_poller import NEVER, OFTEN, Looking, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from om_server.pipeline.change_feed import Audience
    from tests.redis_server import RedisServer
    from tests.server.pipeline.harness import Tenant, World

# A SQLite file has one process, which wakes itself.
pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@contextlib.contextmanager
def hinted(world: World, poller: Poller[Audience], redis_server: RedisServer) -> Iterator[None]:
    """Join two processes by Redis: one that commits, and one whose edges watch."""
    announcer, listener = Announcer(redis_server.client), Listener(redis_server.client, poller.wake)
    world.database.after_commit(announcer.announce)
    announcer.start()
    listener.start()
    try:
        yield
    finally:
        listener.stop()
        announcer.stop()
        poller.stop()


def test_a_revocation_is_told_though_nobody_polls(
    world: World, tenant: Tenant, redis_server: RedisServer
) -> None:
    poller = Poller(Looking(world, NEVER), NEVER)
    edge = Waiting()
    with hinted(world, poller, redis_server):
        poller.join(edge)
        assert edge.waited()

        world.account.revoke_key(tenant.organization_id, tenant.key_id)

        assert edge.waited()
    assert edge.told() == [("key_revoked", tenant.key_id)]


def test_a_revocation_is_told_while_redis_is_away(
    world: World, tenant: Tenant, redis_server: RedisServer
) -> None:
    poller = Poller(Looking(world, OFTEN), OFTEN)
    edge = Waiting()
    with hinted(world, poller, redis_server):
        poller.join(edge)
        assert edge.waited()
        redis_server.kill()

        world.account.revoke_key(tenant.organization_id, tenant.key_id)

        assert edge.waited()
    assert edge.told() == [("key_revoked", tenant.key_id)]
