"""Where limits are kept: which are found for a consumption, and how counters are locked and freed."""

import itertools

import pytest

from om_server.storage.database import Database
from om_server.wallet.limits.limit import (
    CREDITS,
    EVENTS,
    Demand,
    Limit,
    LimitMode,
    Revision,
    Selector,
    Subject,
    Terms,
)
from om_server.wallet.limits.record import ReservationRow
from om_server.wallet.limits.store import LimitStore
from om_server.wallet.limits.window import Window, WindowKind

ORG, OTHER = "org_1", "org_2"
TERMS = Terms(LimitMode.HARD, 100, Window(WindowKind.WEEK, time_zone="Europe/Berlin", week_start=7))
NAMES = ("feature_id", "user_id", "customer_id", "team_id", "key_id")
SUBJECT = Subject("chat", "ada", "acme", "team_1", "key_1", ("beta", "eu"))


@pytest.fixture(name="limits")
def make_limits(database: Database) -> LimitStore:
    return LimitStore(database)


def limit(name: str, selector: Selector, unit: str = EVENTS) -> Limit:
    return Limit(name, selector, unit, (Revision(1, TERMS), Revision(2, Terms(LimitMode.SOFT))), 7, '{"a":1}')


def add(database: Database, limits: LimitStore, *found: Limit, organization_id: str = ORG) -> None:
    def run() -> None:
        for one in found:
            limits.claim(organization_id, one, key=one.limit_id, digest="d")

    database.write(run)


def reserved(database: Database, limits: LimitStore, *demands: Demand) -> list[int]:
    counters = [demand.counter for demand in demands]
    found = database.read(lambda: limits.reservations.reserved(ORG, counters))
    return [found.get(counter, 0) for counter in counters]


def reserve(database: Database, limits: LimitStore, lease_id: str, *demands: Demand) -> None:
    def run() -> None:
        limits.reservations.lock(ORG, [demand.counter for demand in demands])
        limits.reservations.reserve(ORG, lease_id, demands)

    database.write(run)


def test_exactly_the_limits_that_count_a_consumption_are_found(
    database: Database, limits: LimitStore
) -> None:
    values: dict[str, tuple[str, ...]] = {name: ("", getattr(SUBJECT, name), "other") for name in NAMES}
    selectors = [
        Selector(**dict(zip(NAMES, chosen, strict=True)), tag=tag, each_user=each and not chosen[1])
        for chosen in itertools.product(*values.values())
        for tag, each in (("", False), ("eu", True), ("us", False))
    ]
    every = [limit(f"ent_{number:04d}", selector) for number, selector in enumerate(selectors)]
    add(database, limits, *every)
    add(database, limits, limit("ent_x", Selector()), organization_id=OTHER)

    for subject in (SUBJECT, Subject(), Subject(user_id="ada", tags=("eu",))):
        found = database.read(lambda: limits.matching(ORG, subject))  # noqa: B023 - called at once

        assert found == [one for one in every if one.selector.matches(subject)]
        assert found


def test_a_limit_is_read_as_it_was_written(database: Database, limits: LimitStore) -> None:
    one = limit("ent_1", Selector("f", "u", "c", "t", "k", "g"), "custom:seats")
    add(database, limits, one)

    assert database.read(lambda: limits.get(ORG, "ent_1")) == one
    assert database.read(lambda: limits.get(OTHER, "ent_1")) is None


def test_limits_of_a_customer_are_its_own_and_everybodys(database: Database, limits: LimitStore) -> None:
    acme, other, everybody = (Selector(customer_id=name) for name in ("acme", "other", ""))
    add(database, limits, limit("ent_1", acme), limit("ent_2", other), limit("ent_3", everybody))

    assert [one.limit_id for one in database.read(lambda: limits.of_customer(ORG, "acme"))] == [
        "ent_1",
        "ent_3",
    ]
    assert [one.limit_id for one in database.read(lambda: limits.of_customer(ORG, ""))] == ["ent_3"]


def test_the_end_of_a_lease_gives_back_its_own_parts_once(database: Database, limits: LimitStore) -> None:
    first, second = limit("ent_1", Selector()), limit("ent_2", Selector(each_user=True))
    add(database, limits, first, second)
    both = (Demand(first, 3), Demand(second, 5, "ada"))
    reserve(database, limits, "lse_1", *both)
    reserve(database, limits, "lse_2", *both)
    assert reserved(database, limits, *both) == [6, 10]

    for _ in range(2):
        database.write(lambda: limits.reservations.release_leases(ORG, ["lse_1", "lse_3"]))

    assert reserved(database, limits, *both) == [3, 5]


def test_what_waits_for_an_event_outlives_the_lease_but_that_it_happened_does_not(
    database: Database, limits: LimitStore
) -> None:
    money, events = limit("ent_1", Selector(), CREDITS), limit("ent_2", Selector())
    add(database, limits, money, events)
    both = (Demand(money, 3), Demand(events, 1))
    reserve(database, limits, "lse_1", *both)

    def settle() -> None:
        limits.reservations.keep(ORG, {"lse_1": ("proxy", "evt_1")})
        limits.reservations.release_leases(ORG, ["lse_1"])

    database.write(settle)
    assert reserved(database, limits, *both) == [3, 0]

    database.write(lambda: limits.reservations.release_events(ORG, {("api", "evt_1"), ("proxy", "evt_2")}))
    assert reserved(database, limits, *both) == [3, 0]
    for _ in range(2):
        database.write(lambda: limits.reservations.release_events(ORG, {("proxy", "evt_1")}))
    assert reserved(database, limits, *both) == [0, 0]


def test_a_limit_that_is_deleted_takes_its_reservations_along(database: Database, limits: LimitStore) -> None:
    one = limit("ent_1", Selector())
    add(database, limits, one)
    reserve(database, limits, "lse_1", Demand(one, 3))

    assert database.write(lambda: limits.delete(ORG, "ent_1"))

    assert not database.write(lambda: limits.delete(ORG, "ent_1"))
    assert database.write(lambda: limits.reservations.lock(ORG, [("ent_1", "")])) == {}
    assert database.read(ReservationRow.select().count) == 0
    database.write(lambda: limits.reservations.release_leases(ORG, ["lse_1"]))
