"""The thread that looks: started by the first watcher, woken, stopped, and never ended by an error."""

import dataclasses
import threading

from structlog.testing import capture_logs

from om_server.core.clock import system_clock
from om_server.core.errors import DependencyUnavailable
from om_server.pipeline.change_feed import ChangeFeed, FeedLimits
from om_server.pipeline.poller import Poller
from tests.server.pipeline.harness import Tenant, World
from tests.server.pipeline.test_change_feed import Listener

_TIMEOUT_S = 10
#: Nothing happens by itself within a test.
NEVER = FeedLimits(poll_interval_s=3600, poll_gap_s=0.001, heartbeat_interval_s=3600)
OFTEN = dataclasses.replace(NEVER, poll_interval_s=0.005)


class Looking(ChangeFeed):
    """A feed that counts looks, and fails as often as it is told to."""

    def __init__(self, world: World, limits: FeedLimits, *errors: Exception) -> None:
        super().__init__(world.changes, clock=system_clock, limits=limits)
        self.errors = list(errors)
        self.threads: set[str] = set()
        self.looks = 0
        self.told = threading.Event()

    def look(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.looks += 1
        if self.errors:
            raise self.errors.pop(0)
        super().look()


class Waiting(Listener):
    """An edge that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = threading.Semaphore(0)

    def deliver(self, delivery: object) -> None:
        super().deliver(delivery)  # type: ignore[arg-type] # The feed gives nothing else.
        self.count.release()

    def waited(self) -> bool:
        return self.count.acquire(timeout=_TIMEOUT_S)


def tenants(world: World) -> list[Tenant]:
    return [world.tenant(str(number)) for number in range(5)]


def test_nobody_looks_before_somebody_watches(world: World) -> None:
    feed = Looking(world, OFTEN)
    poller = Poller(feed, OFTEN)

    poller.wake()
    poller.stop()

    assert feed.looks == 0


def test_a_change_is_told_at_the_next_interval_without_a_wake(world: World, tenant: Tenant) -> None:
    poller = Poller(Looking(world, OFTEN), OFTEN)
    edge = Waiting()
    poller.join(edge)
    assert edge.waited()

    world.account.revoke_key(tenant.organization_id, tenant.key_id)

    assert edge.waited()
    assert edge.told() == [("key_revoked", tenant.key_id)]
    poller.stop()


def test_a_wake_is_a_look_before_the_interval_is_over(world: World) -> None:
    poller = Poller(Looking(world, NEVER), NEVER)
    edge = Waiting()
    poller.join(edge)
    assert edge.waited()

    # Joining wakes as well, so that the first may be told for another reason.
    for tenant in tenants(world):
        world.account.revoke_key(tenant.organization_id, tenant.key_id)
        poller.wake()
        assert edge.waited()
    poller.stop()


def test_what_a_process_writes_on_sqlite_wakes_it(world: World) -> None:
    if world.database.supports_row_locks:
        return
    poller = Poller(Looking(world, NEVER), NEVER)
    world.database.on_write(poller.wake)
    edge = Waiting()
    poller.join(edge)
    assert edge.waited()

    for tenant in tenants(world):
        world.account.revoke_key(tenant.organization_id, tenant.key_id)
        assert edge.waited()
    poller.stop()


def test_many_watchers_share_one_thread(world: World) -> None:
    feed = Looking(world, NEVER)
    poller = Poller(feed, NEVER)
    edges = [Waiting() for _ in range(200)]

    for edge in edges:
        poller.join(edge)
    assert all(edge.waited() for edge in edges)
    poller.stop()

    assert feed.threads == {"change-feed"}
    assert all(edge.closed for edge in edges)


def test_errors_are_logged_once_and_the_edge_is_told_when_they_are_over(world: World) -> None:
    errors = [DependencyUnavailable("away")] * 3
    poller = Poller(Looking(world, OFTEN, *errors), OFTEN)
    edge = Waiting()

    with capture_logs() as logs:
        poller.join(edge)
        assert edge.waited()
    poller.stop()

    assert [log["event"] for log in logs] == ["changes_unread"]


def test_a_defect_does_not_end_the_thread(world: World) -> None:
    poller = Poller(Looking(world, OFTEN, ValueError(), ValueError()), OFTEN)
    edge = Waiting()

    with capture_logs() as logs:
        poller.join(edge)
        assert edge.waited()
    poller.stop()

    assert [(log["event"], log["log_level"]) for log in logs] == [("changes_unread", "error")]


def test_nothing_is_read_after_the_stop(world: World) -> None:
    feed = Looking(world, NEVER)
    poller = Poller(feed, NEVER)
    edge, late = Waiting(), Waiting()
    poller.join(edge)
    assert edge.waited()

    poller.stop()
    looks = feed.looks
    poller.join(late)

    assert (feed.looks, late.closed) == (looks, True)
