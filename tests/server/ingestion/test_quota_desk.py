"""Monthly quotas at intake, over a real database. Defect B37: duplicates and failures use the quota up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from om_server.ingestion.quota import MonthlyQuotaExceeded, QuotaStanding
from om_server.ingestion.quota_desk import QuotaDesk
from om_server.ingestion.quota_store import CountedEventRow
from tests.server.ingestion.harness import ORGANIZATION, SECOND, START, Intake, edge_event, event

if TYPE_CHECKING:
    from om_server.core.event import Event
    from om_server.storage.database import Database

MONTH = 31 * 86_400 * SECOND
ACCEPTED = ("accepted", "")


class Plans:
    """The plan of every organization, which the test may change."""

    def __init__(self) -> None:
        self.plan = "STARTER"

    def __call__(self, organization_id: str) -> str:
        return self.plan


@pytest.fixture(name="plans")
def make_plans() -> Plans:
    return Plans()


@pytest.fixture(name="intake")
def make_intake(database: Database, plans: Plans) -> Intake:
    """Intake where STARTER takes three events in a month."""
    intake = Intake(database)
    desk = QuotaDesk(database, {"STARTER": 3}, plan_of=plans, clock=intake.clock)
    intake.limit(desk)
    return intake


def left(intake: Intake, organization_id: str = ORGANIZATION) -> int | None:
    standing = intake.operations.quota_standing(organization_id)
    return None if standing is None else standing.remaining


def events(*ids: str) -> list[Event]:
    return [event(event_id) for event_id in ids]


def test_new_events_use_the_quota_up(intake: Intake) -> None:
    assert left(intake) == 3

    assert intake.answers(*events("e1", "e2")) == [ACCEPTED, ACCEPTED]

    assert intake.operations.quota_standing(ORGANIZATION) == QuotaStanding(3, 2)


def test_a_batch_that_does_not_fit_is_refused_whole(intake: Intake) -> None:
    intake.answers(*events("e1", "e2"))

    with pytest.raises(MonthlyQuotaExceeded) as refused:
        intake.answers(*events("e3", "e4"))

    assert refused.value.metadata["current_usage"] == "2"
    assert left(intake) == 1
    assert len(intake.queued()) == 1
    assert intake.answers(*events("e3")) == [ACCEPTED]
    assert left(intake) == 0


def test_duplicates_and_rejected_events_are_free(intake: Intake) -> None:
    first = events("e1", "e2", "e3")
    intake.answers(*first)
    # Still queued, so that intake cannot know them, and then settled.
    assert intake.answers(*first) == [ACCEPTED] * 3
    intake.settle(*[one for batch in intake.queued()[:1] for one in batch])

    assert intake.answers(*first, event("")) == [("duplicate", "")] * 3 + [("rejected", "EVENT_ID_MISSING")]

    assert left(intake) == 0


def test_usage_that_an_edge_reports_is_always_taken(intake: Intake) -> None:
    intake.answers(*events("e1", "e2", "e3"))

    assert intake.answers(edge_event("evt_1")) == [ACCEPTED]

    assert left(intake) == 0


def test_each_month_begins_anew_and_forgets_what_was_counted(intake: Intake) -> None:
    intake.answers(*events("e1", "e2", "e3"))
    intake.clock.now = START + MONTH

    assert left(intake) == 3
    assert intake.answers(event("e4")) == [ACCEPTED]

    rows = intake.database.read(lambda: [row.event_id for row in CountedEventRow.select()])
    assert rows == ["e4"]


def test_organizations_have_quotas_of_their_own(intake: Intake) -> None:
    intake.answers(*events("e1", "e2", "e3"))

    other = event("e1", organization_id="org_other")
    assert intake.ingest(other, organization_id="org_other")[1][0].error is None

    assert [left(intake), left(intake, "org_other")] == [0, 2]


def test_a_plan_without_a_number_counts_nothing(intake: Intake, plans: Plans) -> None:
    plans.plan = "ENTERPRISE"

    assert intake.answers(*events("e1", "e2", "e3", "e4")) == [ACCEPTED] * 4

    assert left(intake) is None
    assert intake.database.read(lambda: CountedEventRow.select().count()) == 0


def test_without_quotas_nothing_is_counted(database: Database) -> None:
    intake = Intake(database)

    intake.answers(*events("e1"))

    assert left(intake) is None
    assert intake.database.read(lambda: CountedEventRow.select().count()) == 0


def test_two_at_once_never_take_more_than_fits(intake: Intake) -> None:
    def send(number: int) -> int:
        try:
            return len(intake.ingest(event(f"e{number}"))[1])
        except MonthlyQuotaExceeded:
            return 0

    with ThreadPoolExecutor(8) as pool:
        taken = sum(pool.map(send, range(16)))

    assert taken == 3
    assert left(intake) == 0
    assert sum(map(len, intake.queued())) == 3
