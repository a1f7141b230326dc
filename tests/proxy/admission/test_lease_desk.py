"""Where calls get their money: from leases that lie here, by one question for all, and back again in time."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from om.edge.v1 import edge_service_pb2 as edge_pb
from om.type.v1 import error_reason_pb2 as reasons
from om_proxy.admission.outcome import Intent
from om_proxy.funding.grant import Grant
from om_proxy.funding.lease import GUARD_S
from om_proxy.funding.purse import IDLE_S, RECALL_IDLE_S
from om_proxy.refusals import problem
from om_proxy.refusals.refusal import Problem
from om_proxy.server.server_client import ServerRefused
from tests.proxy.bank import BOUND, CALL, KNOWN, WALLET, Bank, Till, settle, until
from tests.proxy.exchange import CHAT_PATH, call_of
from tests.proxy.intents import WHO


@pytest.fixture
def bank() -> Bank:
    return Bank()


async def test_the_first_call_gets_a_lease_for_itself(bank: Bank) -> None:
    till = Till(bank)

    intent = await till.admitted()

    (request,) = bank.admits
    assert (request.min_nanos, request.want_nanos, request.bound_nanos) == (BOUND, BOUND, BOUND)
    assert (request.max_intents, request.priced) == (1, True)
    assert [part.bound_nanos for part in intent.grant.parts] == [BOUND]
    assert intent.grant.wallet_id == WALLET


async def test_a_lease_is_written_down_before_its_first_use_and_around_its_end(bank: Bank) -> None:
    till = Till(bank)
    intent = await till.admitted()
    assert [name for name, _ in till.notes.written] == ["learn"]

    till.give_back(intent, 40)
    bank.answers.clear()
    await till.sweep()
    assert [name for name, _ in till.notes.written] == ["learn", "closing"]
    bank.answers.set()
    await settle()

    assert [name for name, _ in till.notes.written] == ["learn", "closing", "closed"]
    (report,) = bank.reports
    assert (report.final_count, report.keep_nanos) == (1, 40)


async def test_a_thousand_calls_on_a_warm_edge_ask_nothing_that_they_wait_for(bank: Bank) -> None:
    till = Till(bank)
    bank.available = 10**9
    await till.busy()
    bank.asked.clear()

    for number in range(1_000):
        admission = till.admit()
        # A coroutine that ends at its first step has waited for nobody.
        with pytest.raises(StopIteration) as ended:
            admission.send(None)
        intent = ended.value.value
        assert isinstance(intent, Intent), number
        till.give_back(intent, 10)
        till.clock.now += 0.01
        if not number % 20:
            await settle()

    assert set(bank.asked) <= {"Admit", "CloseLease"}
    assert len(bank.asked) < 60


async def test_calls_that_wait_for_one_wallet_ask_once(bank: Bank) -> None:
    till = Till(bank)
    till.give_back(await till.admitted())
    await till.sweep()
    bank.asked.clear()

    intents = await asyncio.gather(*(till.admit(event_id=f"evt_{number}") for number in range(20)))

    assert all(isinstance(intent, Intent) for intent in intents)
    assert bank.count("Admit") <= 3


@pytest.mark.parametrize("calls", [1, 3, 5])
async def test_calls_that_come_at_any_turn_of_a_question_get_money_or_hear_that_there_is_none(
    bank: Bank, calls: int
) -> None:
    """In the turn in which a question has ended, the first takes its answer and the next must ask again."""
    till = Till(bank)
    till.give_back(await till.admitted())
    await till.sweep()
    bank.available = calls * BOUND
    coming: list[asyncio.Task[Intent | Problem]] = []

    for number in range(60):
        coming += [asyncio.create_task(till.admit(event_id=f"evt_{number}_{twin}")) for twin in range(3)]
        await asyncio.sleep(0)
    answers = await asyncio.gather(*coming)

    assert sum(isinstance(answer, Intent) for answer in answers) == calls
    refused = {answer.code for answer in answers if isinstance(answer, Problem)}
    assert refused == {"insufficient_credits"}


async def test_a_lease_that_is_over_when_it_comes_is_not_asked_for_again_and_again(bank: Bank) -> None:
    till = Till(bank)
    bank.life_s = GUARD_S
    for _ in range(2):
        assert await till.admit() == problem.unavailable()
    await settle()

    assert bank.count("Admit") == 2
    assert [(report.final_count, report.keep_nanos) for report in bank.reports] == [(0, 0)] * 2


async def test_a_stream_whose_payer_is_another_now_does_not_empty_that_ones_wallet(bank: Bank) -> None:
    till = Till(bank)
    stream = await till.admitted()
    ask = await till.spending.admissions._ask("evt_1", KNOWN, call=CALL, who=WHO)
    bank.wallet_id = "wal_other"

    assert not await till.desk.stretch(stream.grant, ask)

    assert bank.count("Admit") == 2


async def test_a_stream_is_not_ended_by_the_refusal_of_another_calls_key(bank: Bank) -> None:
    till = Till(bank)
    stream = await till.admitted()
    ask = await till.spending.admissions._ask("evt_1", KNOWN, call=CALL, who=WHO)
    bank.errors["Admit"] = [ServerRefused("KEY_REVOKED")]
    bank.answers.clear()
    other = asyncio.create_task(till.admit())
    await until(lambda: till.drawers.of(WALLET).flight is not None)
    stretching = asyncio.create_task(till.desk.stretch(stream.grant, ask))
    await settle()
    bank.answers.set()

    assert await stretching
    assert await other == problem.invalid_api_key()


async def test_a_lease_is_asked_for_ahead_when_half_of_the_demand_is_gone(bank: Bank) -> None:
    till = Till(bank)
    await till.busy()
    before = bank.count("Admit")

    grown = [await till.admitted() for _ in range(6)]
    await settle()

    assert bank.count("Admit") > before
    assert bank.admits[-1].max_intents == 0
    assert bank.admits[-1].want_nanos > BOUND
    assert len(grown) == 6


async def test_an_idle_lease_is_given_back(bank: Bank) -> None:
    till = Till(bank)
    await till.busy()
    assert bank.available < 1_000_000

    till.clock.now = IDLE_S
    await till.sweep()

    assert bank.available == 1_000_000
    till.clock.now = 60
    await till.sweep()
    assert len(till.drawers) == 0


async def test_spending_ends_with_the_guard_and_what_is_in_flight_is_kept(bank: Bank) -> None:
    till = Till(bank)
    await till.busy()
    intent = await till.admitted()
    (part,) = intent.grant.parts
    await settle()

    till.clock.now = bank.life_s - GUARD_S
    await till.sweep()
    report = bank.leases[part.lease_id].report
    assert report is not None
    assert report.keep_nanos == BOUND
    assert bank.available == 1_000_000 - BOUND

    again = await till.admitted()
    assert part.lease_id not in {later.lease_id for later in again.grant.parts}
    assert till.give_back(intent, 5) == (5,)


async def test_a_recalled_lease_is_closed_although_a_stream_is_open(bank: Bank) -> None:
    till = Till(bank)
    await till.busy()
    stream = await till.admitted()
    (part,) = stream.grant.parts

    till.hear(edge_pb.WatchResponse(lease_recalled=edge_pb.LeaseRecalled(lease_id=part.lease_id)))
    await settle()
    assert bank.leases[part.lease_id].report is None, "a call took from it just now"
    till.clock.now += RECALL_IDLE_S
    await till.sweep()

    report = bank.leases[part.lease_id].report
    assert report is not None
    assert report.keep_nanos == BOUND


async def test_a_shortfall_waits_for_what_another_call_gives_back(bank: Bank) -> None:
    till = Till(bank, wait_s=5)
    bank.available = BOUND
    first = await till.admitted()

    second = asyncio.create_task(till.admit())
    await settle()
    assert not second.done()
    till.give_back(first, 0)
    await till.sweep()
    await settle()

    assert second.done(), "it asked at once, and not at the end of its wait"
    assert isinstance(await second, Intent)


async def test_a_shortfall_waits_for_funds_of_the_wallet(bank: Bank) -> None:
    till = Till(bank, wait_s=5)
    bank.available = 0
    call = asyncio.create_task(till.admit())
    await settle()

    bank.available = BOUND
    change = edge_pb.FundsChanged(wallet_id=WALLET, available_nanos=BOUND)
    till.hear(edge_pb.WatchResponse(funds_changed=change))
    await settle()

    assert call.done(), "it asked at once, and not at the end of its wait"
    assert isinstance(await call, Intent)


async def test_a_shortfall_that_stays_is_refused_with_what_is_there_and_what_it_affords(bank: Bank) -> None:
    till = Till(bank)
    bank.available = BOUND - 4

    answer = await till.admit()

    assert answer == problem.insufficient_credits(
        needed_nanos=BOUND, available_nanos=BOUND - 4, output_tokens_max=5
    )
    # At first, again together with what lies here, and once more behind the wait.
    assert bank.count("Admit") == 3


async def test_what_lies_here_and_what_is_left_in_the_wallet_pay_together(bank: Bank) -> None:
    till = Till(bank)
    await till.busy()
    bank.available = 0
    till.give_back(await till.admitted(), 30)
    while till.drawers.left_nanos(WALLET) >= BOUND:
        await till.admitted()
        await settle()
    left = till.drawers.left_nanos(WALLET)
    assert 0 < left < BOUND
    bank.available = BOUND - left

    intent = await till.admitted()

    assert [part.bound_nanos for part in intent.grant.parts] == [left, BOUND - left]
    assert bank.admits[-1].min_nanos == BOUND - left


async def test_many_who_are_short_are_refused_by_one_answer(bank: Bank) -> None:
    till = Till(bank)
    bank.available = 0
    await till.admit()
    bank.asked.clear()

    answers = await asyncio.gather(*(till.admit() for _ in range(30)))

    assert all(isinstance(answer, Problem) for answer in answers)
    assert bank.count("Admit") <= 4


async def test_an_admission_whose_answer_was_lost_is_repeated_and_what_it_took_returns(bank: Bank) -> None:
    till = Till(bank)
    till.spending._admitter._retry_delay_s = 0.001
    bank.lost["Admit"] = 2

    assert await till.admit() == problem.unavailable()
    await until(lambda: bool(bank.reports))

    assert len({request.idempotency_key for request in bank.admits}) == 1
    assert bank.count("Admit") == 3
    (report,) = bank.reports
    assert (report.final_count, report.keep_nanos) == (0, 0)
    assert bank.available == 1_000_000


async def test_a_lost_answer_for_a_wallet_is_not_asked_for_a_second_time(bank: Bank) -> None:
    till = Till(bank)
    till.spending._admitter._retry_delay_s = 0.001
    till.give_back(await till.admitted())
    await till.sweep()
    bank.lost["Admit"] = 1

    assert await till.admit() == problem.unavailable()
    assert await till.admit() == problem.unavailable()
    await until(lambda: not till.drawers.of(WALLET).unanswered)

    assert len(bank.leases) == 2
    before = bank.count("Admit")
    await till.admitted()
    assert bank.count("Admit") == before, "what came late is spent"


async def test_a_caller_who_leaves_while_the_server_decides_gives_back_what_it_decides(bank: Bank) -> None:
    till = Till(bank)
    await till.spending._cards.find(KNOWN, "acme", provider="openai", model="gpt-4o")
    bank.answers.clear()
    call = asyncio.create_task(till.admit())
    await settle()
    call.cancel()
    await settle()
    bank.answers.set()
    await settle()

    assert bank.available == 1_000_000
    assert [report.final_count for report in bank.reports] == [0]
    assert till.notes.written == []


async def test_a_call_that_was_never_begun_is_no_call(bank: Bank) -> None:
    till = Till(bank)
    intent = await till.admitted()

    till.desk.cancel(intent.grant)
    till.clock.now = IDLE_S
    await till.sweep()

    assert [(report.final_count, report.keep_nanos) for report in bank.reports] == [(0, 0)]


async def test_a_stream_takes_more_from_what_lies_here(bank: Bank) -> None:
    till = Till(bank)
    await till.busy()
    intent = await till.admitted()

    assert till.desk.extend(intent.grant, 10)
    assert intent.grant.bound_nanos == BOUND + 10
    assert not till.desk.extend(intent.grant, 10**12)
    assert not till.desk.extend(Grant(), 1)
    assert sum(till.give_back(intent, 10**6)) == BOUND + 10


async def test_declaring_goes_on_until_the_server_has_answered(bank: Bank) -> None:
    till = Till(bank)
    till.spending._closing._retry_delay_s = 0.001
    intent = await till.admitted()
    till.give_back(intent, 7)
    bank.lost["CloseLease"] = 2
    bank.errors["CloseLease"] = [ServerRefused("EDGE_NOT_RESYNCED")]
    till.drawers.sweep()
    await until(lambda: ("closed", intent.grant.parts[0].lease_id) in till.notes.written)

    assert bank.count("CloseLease") == 4
    assert bank.available == 1_000_000 - 7


@pytest.mark.parametrize(("reason", "noted"), [("NOT_FOUND", True), ("EDGE_EPOCH_STALE", False)])
async def test_what_the_server_does_not_know_is_over_and_what_is_not_ours_stays(
    bank: Bank, reason: str, *, noted: bool
) -> None:
    till = Till(bank)
    intent = await till.admitted()
    till.give_back(intent)
    bank.errors["CloseLease"] = [ServerRefused(reason)]
    with capture_logs() as logs:
        await till.sweep()

    assert (("closed", intent.grant.parts[0].lease_id) in till.notes.written) is noted
    assert [entry["reason"] for entry in logs if entry["event"] == "lease_not_declared"] == [reason]
    assert bank.count("CloseLease") == 1


async def test_another_incarnation_ends_all_spending_without_a_word(bank: Bank) -> None:
    till = Till(bank)
    await till.busy()
    intent = await till.admitted()
    till.life.ready.clear()
    bank.store = "inc_2"

    till.incarnation.note("inc_2")
    assert till.drawers.left_nanos(WALLET) == 0
    # Until the new store has heard of the past, nothing is asked of it.
    asked = bank.count("Admit")
    assert await till.admit() == problem.unavailable()
    assert bank.count("Admit") == asked
    till.life.ready.set()

    assert isinstance(await till.admit(), Intent)
    assert till.give_back(intent, 5) == (5,)


async def test_an_answer_to_an_earlier_epoch_is_not_spent(bank: Bank) -> None:
    till = Till(bank)
    till.give_back(await till.admitted())
    await till.sweep()
    bank.answers.clear()
    call = asyncio.create_task(till.admit())
    await settle()
    till.edge.edge_epoch += 1
    leases = len(bank.leases)
    bank.answers.set()

    intent = await call

    assert isinstance(intent, Intent)
    assert intent.grant.parts[0].lease_id != f"lse_{leases:026d}"


async def test_the_end_gives_every_lease_back(bank: Bank) -> None:
    till = Till(bank)
    till.spending.start()
    await till.busy()

    await till.spending.close(1.0)

    assert bank.available == 1_000_000
    assert all(lease.report is not None for lease in bank.leases.values())


async def test_a_forgotten_edge_says_so_and_asks_when_it_is_known_again_and_a_stale_one_says_so(
    bank: Bank,
) -> None:
    till = Till(bank)
    bank.errors["Admit"] = [ServerRefused("EDGE_NOT_RESYNCED")]
    assert await till.admit() == problem.unavailable()
    assert till.life.forgotten_epochs == [1]

    till.life.ready.clear()
    asked = bank.count("Admit")
    assert await till.admit() == problem.unavailable()
    assert bank.count("Admit") == asked
    till.life.ready.set()
    assert isinstance(await till.admit(), Intent)

    bank.errors["Admit"] = [ServerRefused("EDGE_EPOCH_STALE")]
    assert await till.admit(user_id="another") == problem.unavailable()
    assert till.life.stale_epochs == [1]


async def test_the_end_of_another_callers_key_refuses_nobody_else(bank: Bank) -> None:
    till = Till(bank)
    till.give_back(await till.admitted())
    await till.sweep()
    bank.errors["Admit"] = [ServerRefused("KEY_REVOKED")]

    leader, follower = await asyncio.gather(till.admit(), till.admit())

    assert leader == problem.invalid_api_key()
    assert isinstance(follower, Intent)


async def test_a_wallet_that_is_blocked_refuses_each_time(bank: Bank) -> None:
    till = Till(bank)
    bank.refusal = edge_pb.Refusal(reason=reasons.ERROR_REASON_WALLET_BLOCKED)

    assert await till.admit() == problem.wallet_blocked()
    bank.refusal = None
    assert isinstance(await till.admit(), Intent)


async def test_a_lost_answer_that_is_given_up_stops_no_wallet(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("om_proxy.admission.admitter._UNANSWERED_MAX", 0)
    till = Till(bank)
    till.give_back(await till.admitted())
    await till.sweep()
    bank.lost["Admit"] = 1

    with capture_logs():
        assert await till.admit() == problem.unavailable()
    await settle()

    await till.admitted()


async def test_a_call_whose_bound_is_beyond_all_money_is_refused(bank: Bank) -> None:
    till = Till(bank)
    await till.busy()
    call = call_of(CHAT_PATH, b'{"model":"gpt-4o","max_tokens":9000000000000000000,"n":100,"messages":[]}')

    refused = await till.admit(call=call)

    assert isinstance(refused, Problem)
    assert refused.status == 402
