"""What edges are told, look by look, without threads."""

import dataclasses
from collections.abc import Callable, Iterator

import pytest

from om_server.core.clock import system_clock
from om_server.core.errors import DependencyUnavailable
from om_server.core.sequence_range import SequenceRange
from om_server.pipeline.change_feed import ChangeFeed, FeedLimits
from om_server.pipeline.delivery import Cursor, Delivery
from om_server.rating.store import TariffStore
from om_server.storage.change import Change, ChangeKind, Position, Reading
from om_server.storage.change_log import ChangeLog
from om_server.storage.database import Database
from om_server.wallet.limits.limit import LimitMode, Selector, Terms
from om_server.wallet.limits.operations import LimitWish
from om_server.wallet.limits.window import Window, WindowKind
from tests.server.pipeline.edge_scene import leased
from tests.server.pipeline.harness import CREDIT, EDGE, Tenant, World

OTHER = "edg_" + "1" * 26
#: No heartbeats and no pruning unless a test asks for them.
QUIET = FeedLimits(heartbeat_interval_s=10**6, prune_interval_s=10**6)


class Listener:
    """An edge that remembers what it was told."""

    def __init__(self, edge_id: str = EDGE.edge_id, cursor: str = "") -> None:
        self.edge_id = edge_id
        self.cursor = cursor
        self.deliveries: list[Delivery] = []
        self.closed = False

    def deliver(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    def close(self) -> None:
        self.closed = True

    def last(self) -> Delivery:
        return self.deliveries[-1]

    def told(self) -> list[tuple[str, str]]:
        """Kind and subject of all changes, in order."""
        return [
            (change.kind, change.subject_id or change.organization_id)
            for delivery in self.deliveries
            for change in delivery.changes
        ]


class Watch:
    """A clock of seconds that stands still."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """A feed that looks when it is told to."""

    def __init__(self, world: World, limits: FeedLimits = QUIET) -> None:
        self.time = Watch()
        self.log = ChangeLog(world.database)
        self.queue = ""
        self.queue_away = False
        self.feed = ChangeFeed(
            self.log,
            clock=system_clock,
            limits=limits,
            queue_incarnation=self.queue_incarnation,
            monotonic=self.time,
        )

    def queue_incarnation(self) -> str:
        if self.queue_away:
            raise DependencyUnavailable("no queue")
        return self.queue

    def joined(self, cursor: str = "", edge_id: str = EDGE.edge_id) -> Listener:
        """An edge that has had its first delivery."""
        listener = Listener(edge_id, cursor)
        self.feed.join(listener)
        self.feed.look()
        assert len(listener.deliveries) == 1
        return listener

    def settle(self, *sequences: int, edge_id: str = EDGE.edge_id) -> None:
        for sequence in sequences:
            self.log.note_settled(edge_id, 1, [SequenceRange(sequence, sequence)])


@pytest.fixture(name="scene")
def make_scene(world: World) -> Iterator[Scene]:
    scene = Scene(world)
    yield scene
    scene.feed.close()


def run(database: Database, sql: str) -> None:
    database.write(lambda: database.engine.execute_sql(sql))


def revoke(world: World, tenant: Tenant) -> None:
    world.account.revoke_key(tenant.organization_id, tenant.key_id)


def rename_store(database: Database, incarnation: str) -> None:
    run(database, f"UPDATE incarnations SET incarnation = '{incarnation}'")  # noqa: S608 - a test's own


def test_the_first_delivery_has_the_incarnation_and_nothing_of_the_past(
    scene: Scene, world: World, tenant: Tenant
) -> None:
    revoke(world, tenant)

    first = scene.joined().last()

    assert (first.after.incarnation, first.changes, first.lost) == ("inc_test", (), False)


def test_another_life_of_the_queue_is_told_to_everybody_and_breaks_nothing(scene: Scene) -> None:
    one, other = scene.joined(), scene.joined(edge_id=OTHER)
    scene.queue = "first"
    scene.time.now += 1
    scene.feed.look()
    scene.queue = "second"
    scene.time.now += 1
    scene.feed.look()
    scene.time.now += 1
    scene.feed.look()

    for edge in (one, other):
        assert [delivery.queue for delivery in edge.deliveries] == ["", "first", "second"]
        assert not any(delivery.lost or delivery.changes for delivery in edge.deliveries)


def test_a_newcomer_is_told_of_the_queue_and_so_is_every_later_delivery(
    scene: Scene, world: World, tenant: Tenant
) -> None:
    scene.queue = "first"
    edge = scene.joined()

    revoke(world, tenant)
    scene.feed.look()

    assert [delivery.queue for delivery in edge.deliveries] == ["first", "first"]


def test_a_queue_that_is_away_is_no_other_and_is_not_asked_all_the_time(
    scene: Scene, world: World, tenant: Tenant
) -> None:
    scene.queue = "first"
    edge = scene.joined()
    scene.queue_away = True
    scene.time.now += 1

    revoke(world, tenant)
    scene.feed.look()
    scene.queue_away, scene.queue = False, "second"
    scene.time.now += 4
    scene.feed.look()
    patient = [delivery.queue for delivery in edge.deliveries]
    scene.time.now += 1
    scene.feed.look()

    assert patient == ["first", "first"]
    assert edge.last().queue == "second"


def test_a_revoked_key_is_told_to_every_edge(scene: Scene, world: World, tenant: Tenant) -> None:
    one, other = scene.joined(), scene.joined(edge_id=OTHER)

    revoke(world, tenant)
    scene.feed.look()

    [change] = one.last().changes
    assert (change.kind, change.subject_id, change.value) == ("key_revoked", tenant.key_id, world.clock.now)
    assert other.last().changes == (change,)


def test_a_replaced_key_is_told_with_the_time_at_which_it_ends(
    scene: Scene, world: World, tenant: Tenant
) -> None:
    edge = scene.joined()

    world.account.rotate_key(tenant.organization_id, tenant.key_id, overlap_seconds=60)
    scene.feed.look()

    [change] = edge.last().changes
    assert (change.kind, change.value) == ("key_revoked", world.clock.now + 60_000_000)


def test_a_wallet_that_comes_into_being_ends_decisions_under_older_versions(
    scene: Scene, world: World, tenant: Tenant
) -> None:
    poor = world.tenant()
    edge = scene.joined()

    world.grant(poor.organization_id, CREDIT)
    world.grant(poor.organization_id, CREDIT)
    scene.feed.look()

    version = world.wallet.resolution_version(poor.organization_id)
    changes = [change for change in edge.last().changes if change.kind is ChangeKind.WALLET_CHANGED]
    assert [(change.organization_id, change.value) for change in changes] == [(poor.organization_id, version)]


def test_funds_are_told_when_they_run_out_and_when_there_are_some_again(
    scene: Scene, world: World, tenant: Tenant
) -> None:
    edge = scene.joined()
    wallet = world.wallet.get_wallet(tenant.organization_id)

    world.grant(tenant.organization_id, CREDIT)
    scene.feed.look()
    more = edge.told()
    world.resync()
    lease = world.admit(tenant, want_nanos=1_001 * CREDIT, min_nanos=1_001 * CREDIT).lease
    scene.feed.look()
    empty = edge.last().changes
    world.grant(tenant.organization_id, CREDIT)
    scene.feed.look()

    assert lease is not None
    assert more == []
    assert [(change.subject_id, change.value) for change in empty] == [(wallet.wallet_id, 0)]
    assert [(change.subject_id, change.value) for change in edge.last().changes] == [
        (wallet.wallet_id, CREDIT)
    ]


def test_a_lease_that_is_wanted_back_is_told_to_its_edge_alone(
    scene: Scene, world: World, tenant: Tenant
) -> None:
    lease = leased(world, tenant, max_intents=0)
    edge, other = scene.joined(), scene.joined(edge_id=OTHER)

    # The second time nothing is asked for that was not before.
    recalled = [world.wallet.recall_leases(tenant.organization_id, lease.wallet_id) for _ in range(2)]
    assert recalled == [1, 0]
    scene.feed.look()

    assert edge.told() == [("lease_recalled", lease.lease_id)]
    assert len(other.deliveries) == 1


def test_limits_are_told_when_they_are_made_changed_and_deleted(
    scene: Scene, world: World, tenant: Tenant
) -> None:
    edge = scene.joined()
    organization_id, told = tenant.organization_id, ("limits_changed", tenant.organization_id)
    wish = LimitWish(Selector(), "credits", Terms(LimitMode.HARD, CREDIT, Window(WindowKind.DAY)))
    lower = dataclasses.replace(wish, terms=dataclasses.replace(wish.terms, amount=1))

    limit = world.limits.create(organization_id, wish, idempotency_key="k")
    scene.feed.look()
    assert edge.told() == [told]
    world.limits.update(organization_id, limit.limit_id, lower)
    scene.feed.look()
    assert edge.told() == [told] * 2
    world.limits.delete(organization_id, limit.limit_id)
    scene.feed.look()
    assert edge.told() == [told] * 3


def test_a_tariff_that_changes_makes_rate_cards_old(scene: Scene, world: World, tenant: Tenant) -> None:
    edge, tariffs = scene.joined(), TariffStore(world.database)

    for version in ("one", "two"):

        def write(version: str = version) -> None:
            tariffs.lock(tenant.organization_id)
            tariffs.advance(tenant.organization_id, version)

        world.database.write(write)
        scene.feed.look()

    assert edge.told() == [("rate_card_changed", tenant.organization_id)] * 2


def test_sequences_are_told_as_ranges_to_their_edge_alone(scene: Scene) -> None:
    edge, other = scene.joined(), scene.joined(edge_id=OTHER)

    scene.settle(1, 2, 3, 5)
    scene.feed.look()

    assert (edge.last().settled, edge.last().changes) == ({1: ((1, 3), (5, 5))}, ())
    assert len(other.deliveries) == 1


def test_whoever_comes_learns_all_that_is_settled_of_its_edge(scene: Scene) -> None:
    scene.settle(1, 2)
    scene.settle(9, edge_id=OTHER)

    assert scene.joined().last().settled == {1: ((1, 2),)}


def test_of_many_changes_of_one_thing_the_last_is_told(scene: Scene, world: World, tenant: Tenant) -> None:
    edge = scene.joined()
    wallet = world.wallet.get_wallet(tenant.organization_id)
    for available in (0, 7, 0, 8):
        run(world.database, f"UPDATE wallets SET available = {available}")  # noqa: S608 - a test's own
    scene.feed.look()
    run(world.database, f"UPDATE wallets SET available = {wallet.available}")  # noqa: S608 - as above

    [change] = edge.last().changes
    assert (change.kind, change.value) == ("funds_changed", 8)


def test_resuming_tells_what_happened_meanwhile(scene: Scene, world: World, tenant: Tenant) -> None:
    edge = scene.joined()
    cursor = str(edge.last().after)
    scene.feed.leave(edge)

    revoke(world, tenant)
    scene.feed.look()
    back = scene.joined(cursor)

    assert back.told() == [("key_revoked", tenant.key_id)]
    assert not back.last().lost
    assert len(edge.deliveries) == 1


def test_resuming_within_a_delivery_tells_all_of_it_again(scene: Scene, world: World, tenant: Tenant) -> None:
    edge = scene.joined()
    revoke(world, tenant)
    scene.feed.look()

    back = scene.joined(str(edge.last().before))
    later = scene.joined(str(edge.last().after))

    assert back.told() == [("key_revoked", tenant.key_id)]
    assert (later.told(), later.last().lost) == ([], False)


def test_another_process_knows_what_happened_before_it_began(
    scene: Scene, world: World, tenant: Tenant
) -> None:
    cursor = str(scene.joined().last().after)
    # Without an older change nobody could tell that none was deleted.
    revoke(world, world.tenant("Older"))
    scene.feed.look()
    cursor = str(scene.joined(cursor).last().after)
    revoke(world, tenant)

    back = Scene(world).joined(cursor)

    assert back.told() == [("key_revoked", tenant.key_id)]
    assert not back.last().lost


@pytest.mark.parametrize("cursor", ["nonsense", "inc_test.", "inc_test.-1", "inc_other.1", "inc_test.²"])
def test_a_cursor_of_nobody_loses_changes(scene: Scene, cursor: str) -> None:
    assert scene.joined(cursor).last().lost


def test_a_cursor_of_the_future_loses_changes(scene: Scene) -> None:
    after = scene.joined().last().after

    assert scene.joined(str(dataclasses.replace(after, floor=after.floor + 1_000_000))).last().lost


def test_a_cursor_older_than_the_history_loses_changes(world: World, tenant: Tenant) -> None:
    scene = Scene(world, dataclasses.replace(QUIET, history_max=2))
    old = scene.joined().last().after
    for _ in range(3):
        revoke(world, world.tenant())
        scene.feed.look()

    assert scene.joined(str(old)).last().lost


def test_a_cursor_older_than_the_log_loses_changes(scene: Scene, world: World, tenant: Tenant) -> None:
    old = scene.joined().last().after
    for _ in range(2):
        revoke(world, world.tenant())
    now = system_clock()
    scene.log.prune(before=now + 60_000_000, now=now, forget_before=0)

    assert Scene(world).joined(str(old)).last().lost


def test_a_new_life_of_the_store_is_told_to_everybody_and_breaks_cursors(scene: Scene, world: World) -> None:
    edge = scene.joined()
    scene.settle(1)
    rename_store(world.database, "inc_next")

    scene.feed.look()

    assert (edge.last().after.incarnation, edge.last().lost) == ("inc_next", True)
    assert edge.last().settled == {1: ((1, 1),)}
    assert scene.joined(str(edge.deliveries[0].after)).last().lost
    assert not scene.joined(str(edge.last().after)).last().lost


def test_a_store_that_went_back_in_time_is_read_from_its_beginning(scene: Scene) -> None:
    class Restored(ChangeLog):
        def since(self, position: Position, limit: int) -> Reading:
            return dataclasses.replace(super().since(position, limit), position=Position(0))

    edge = scene.joined()
    scene.feed._log = Restored(scene.log._database)

    scene.feed.look()

    assert edge.last().lost


def test_more_changes_than_memory_is_kept_for_are_lost_and_said_to_be(world: World) -> None:
    scene = Scene(world, dataclasses.replace(QUIET, history_max=3))
    edge = scene.joined()

    scene.settle(1, 3, 5, 7)
    scene.feed.look()
    lost = edge.last()
    scene.settle(9)
    scene.feed.look()

    assert (lost.lost, lost.settled) == (True, {1: ((1, 1), (3, 3), (5, 5), (7, 7))})
    assert (edge.last().lost, edge.last().settled) == (False, {1: ((9, 9),)})


def test_a_poller_that_was_away_longer_than_the_log_is_kept_begins_again(scene: Scene) -> None:
    edge = scene.joined()

    scene.time.now += QUIET.keep_s
    scene.feed.look()

    assert edge.last().lost


def test_without_changes_there_is_a_sign_of_life_at_an_interval(world: World) -> None:
    scene = Scene(world, dataclasses.replace(QUIET, heartbeat_interval_s=5))
    edge = scene.joined()

    for _ in range(3):
        scene.time.now += 2
        scene.feed.look()

    assert [delivery.changes for delivery in edge.deliveries] == [(), ()]
    assert not edge.last().first


def test_the_log_is_pruned_at_an_interval(world: World) -> None:
    scene = Scene(world, dataclasses.replace(QUIET, prune_interval_s=60, keep_s=0))
    scene.settle(1, 2)
    scene.joined()
    scene.time.now += 61
    scene.settle(3)
    # The poller was away for as long as the log is kept, which is no time at all here.
    scene.feed.look()

    assert len(scene.log.newest(10).changes) == 1


def test_looks_ask_no_more_for_many_edges_than_for_one(
    scene: Scene, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    execute: Callable[..., object] = world.database.engine.execute_sql

    def counted(sql: str, *arguments: object) -> object:
        asked.append(sql)
        return execute(sql, *arguments)

    scene.joined()
    monkeypatch.setattr(world.database.engine, "execute_sql", counted)
    for number in range(200):
        scene.feed.join(Listener(f"edg_{number:026}"))
    scene.feed.look()
    joining = len(asked)
    scene.feed.look()

    assert (joining, len(asked) - joining) == (2, 1), asked


def test_whoever_joins_a_closed_feed_is_closed(scene: Scene) -> None:
    edge, late, waiting = scene.joined(), Listener(), Listener()
    scene.feed.join(waiting)

    scene.feed.close()
    scene.feed.join(late)

    assert (edge.closed, waiting.closed, late.closed) == (True, True, True)


def test_a_cursor_reads_as_it_was_written() -> None:
    cursor = Cursor("inc_01.2", 77)

    assert Cursor.parse(str(cursor)) == cursor


def test_a_delivery_counts_its_messages() -> None:
    now = Cursor("inc", 1)
    change = Change(1, ChangeKind.KEY_REVOKED)

    assert Delivery(now, now).size == 1
    assert Delivery(now, now, (change, change), {1: ()}, lost=True).size == 4
