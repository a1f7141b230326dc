from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om.analytics.v1 import analytics_service_pb2 as pb
from om.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from om_server.analytics.burn_rate import BurnRate, BurnRates, Payer, no_wallets, runout
from om_server.analytics.operations import AnalyticsOperations
from om_server.analytics.settled import SettledEvent
from om_server.analytics.store import AnalyticsStore
from om_server.analytics.window_sum import WindowSums
from om_server.core.hours import HOUR
from om_server.storage.database import Database
from tests.rpc import Keyring, bearer, key_caller, serving
from tests.server.analytics.examples import NOW, ORG, OTHER_ORG, line, settled
from tests.server.analytics.streaming import servicer

_DAY = 24 * HOUR


def charged(event_id: str, charge: int, *, days_ago: float = 0, **more: object) -> SettledEvent:
    return settled(event_id, line(charge=charge), event_time=NOW - int(days_ago * _DAY), **more)


@pytest.fixture
def operations(database: Database) -> AnalyticsOperations:
    return AnalyticsOperations(database, AnalyticsStore(database), clock=lambda: NOW)


def rates(database: Database, available: int | None = 0) -> BurnRates:
    return BurnRates(WindowSums(database), available=lambda _: available, clock=lambda: NOW)


def test_a_wallet_runs_out_at_the_pace_of_the_last_week(
    database: Database, operations: AnalyticsOperations
) -> None:
    operations.record([charged("a", 50), charged("b", 20, days_ago=6.9), charged("c", 30, days_ago=29)])

    rate = rates(database, available=140).of(Payer(ORG))

    assert rate == BurnRate(available=140, charge_7d=70, charge_30d=100, runout_time=NOW + 14 * _DAY)


def test_what_is_older_or_the_sandbox_s_does_not_count(
    database: Database, operations: AnalyticsOperations
) -> None:
    operations.record(
        [
            charged("old", 5, days_ago=7.1),
            charged("ancient", 7, days_ago=30.1),
            charged("play", 0, sandbox=True),
            charged("theirs", 9, organization_id=OTHER_ORG),
        ]
    )

    assert rates(database, available=1).of(Payer(ORG)) == BurnRate(1, 0, 5, None)


def test_a_user_or_a_customer_has_a_pace_of_its_own(
    database: Database, operations: AnalyticsOperations
) -> None:
    operations.record(
        [
            charged("a", 1, user_id="u", customer_id="c"),
            charged("b", 2, user_id="u"),
            charged("c", 4, customer_id="c"),
        ]
    )
    asked = [Payer(ORG), Payer(ORG, "u"), Payer(ORG, "", "c"), Payer(ORG, "u", "c"), Payer(ORG, "", ORG)]

    assert [rates(database).of(payer).charge_7d for payer in asked] == [7, 3, 5, 1, 7]


def test_without_a_wallet_nothing_runs_out(database: Database, operations: AnalyticsOperations) -> None:
    operations.record([charged("a", 50)])

    assert rates(database, available=None).of(Payer(ORG)) == BurnRate(0, 50, 50, None)
    assert no_wallets(Payer(ORG)) is None


@pytest.mark.parametrize("available", [0, -5])
def test_a_wallet_with_nothing_left_has_run_out_now(available: int) -> None:
    assert runout(available, 10, now=NOW) == NOW


def test_a_pace_that_lasts_beyond_the_calendar_has_no_end() -> None:
    assert runout(2**62, 1, now=NOW) is None
    assert runout(10, 0, now=NOW) is None
    assert runout(10, -3, now=NOW) is None


@given(st.integers(1, 2**50), st.integers(1, 2**50))
def test_more_lasts_longer_and_a_faster_pace_shorter(available: int, charge: int) -> None:
    far = 2**70
    time = runout(available, charge, now=NOW) or far

    assert (runout(available + 1, charge, now=NOW) or far) >= time
    assert (runout(available, charge + 1, now=NOW) or far) >= NOW
    assert (runout(available, charge + 1, now=NOW) or far) <= time


@pytest.fixture
def stub(database: Database, operations: AnalyticsOperations) -> Iterator[AnalyticsServiceStub]:
    def available(payer: Payer) -> int | None:
        return {Payer(ORG): 140, Payer(ORG, "u"): 7}.get(payer)

    keys = Keyring({"ours": key_caller(organization_id=ORG), "theirs": key_caller(organization_id=OTHER_ORG)})
    with serving([servicer(database, operations, available=available)], keys) as channel:
        yield AnalyticsServiceStub(channel)


def test_the_pace_is_told_in_credits(operations: AnalyticsOperations, stub: AnalyticsServiceStub) -> None:
    operations.record([charged("a", 70), charged("b", 30, days_ago=20, user_id="u")])

    reply = stub.GetBurnRate(pb.GetBurnRateRequest(), metadata=bearer("ours"))
    user = stub.GetBurnRate(pb.GetBurnRateRequest(user_id="u"), metadata=bearer("ours"))
    theirs = stub.GetBurnRate(pb.GetBurnRateRequest(), metadata=bearer("theirs"))

    assert (reply.available.amount_nanos, reply.available.currency_code) == (140, "CREDITS")
    assert (reply.charge_7d.amount_nanos, reply.charge_30d.amount_nanos) == (70, 100)
    assert reply.runout_time.ToMicroseconds() == NOW + 14 * _DAY
    assert (user.available.amount_nanos, user.charge_30d.amount_nanos) == (7, 30)
    assert not user.HasField("runout_time")
    assert theirs == pb.GetBurnRateResponse(
        available=reply.available.__class__(currency_code="CREDITS"),
        charge_7d=reply.available.__class__(currency_code="CREDITS"),
        charge_30d=reply.available.__class__(currency_code="CREDITS"),
    )
