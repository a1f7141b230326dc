"""Who may make a call, and who pays for it: with the server, from memory, and while the server is away."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace

import pytest

from om.edge.v1 import edge_service_pb2 as edge_pb
from om.type.v1 import error_reason_pb2 as reasons
from om_proxy.admission.keys import KEY_TIME_TO_LIVE_S
from om_proxy.admission.outcome import Intent
from om_proxy.admission.payers import PAYER_TIME_TO_LIVE_S
from om_proxy.call.call import Share
from om_proxy.funding.grant import Grant
from om_proxy.funding.lease import GUARD_S
from om_proxy.funding.purse import IDLE_S
from om_proxy.journal import segment
from om_proxy.refusals import problem
from om_proxy.refusals.refusal import Problem
from om_proxy.server.server_client import ServerRefused
from tests.proxy.bank import BOUND, CALL, KNOWN, ORG, TEAM, WALLET, Bank, Till, settle, until
from tests.proxy.exchange import MESSAGES_PATH, call_of
from tests.proxy.intents import WHO
from tests.proxy.one_edge import CHAT, answers, edge

_TOOL = b'"tools":[{"type":"web_search_20250305","name":"web_search"}]'
UNBOUNDED = call_of(
    MESSAGES_PATH, b'{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[],' + _TOOL + b"}"
)


@pytest.fixture
def bank() -> Bank:
    return Bank()


def no_wallet(bank: Bank) -> Till:
    bank.wallet_id, bank.mode = "", edge_pb.FUNDING_MODE_NO_WALLET
    return Till(bank)


async def test_an_admitted_call_names_who_pays_and_from_which_lease(bank: Bank) -> None:
    intent = await Till(bank).admitted()

    assert (intent.event_id, intent.key, intent.call, intent.who) == ("evt_1", KNOWN, CALL, WHO)
    assert intent.grant.wallet_id == WALLET
    assert set(bank.leases) == {part.lease_id for part in intent.grant.parts}
    assert not intent.grant.unfunded


async def test_the_simulator_and_what_consumes_nothing_are_not_asked_about(bank: Bank) -> None:
    till = Till(bank)

    sandbox = await till.admitted(who=replace(WHO, sandbox=True))
    free = await till.admitted(call=replace(CALL, billable=False))

    assert (sandbox.grant, free.grant) == (Grant(), Grant())
    assert bank.asked == []


async def test_a_call_of_which_nobody_pays_asks_once_in_half_a_minute(bank: Bank) -> None:
    till = no_wallet(bank)
    for _ in range(3):
        assert (await till.admitted()).grant == Grant()
    assert bank.count("Admit") == 1

    await till.admitted(user_id="another")
    assert bank.count("Admit") == 2

    till.clock.now = PAYER_TIME_TO_LIVE_S
    await till.admitted()
    assert bank.count("Admit") == 3


async def test_who_pays_is_asked_again_behind_the_calls_before_it_is_forgotten(bank: Bank) -> None:
    till = no_wallet(bank)
    await till.admitted()
    till.clock.now = PAYER_TIME_TO_LIVE_S / 2
    await till.admitted()
    await settle()
    till.clock.now = PAYER_TIME_TO_LIVE_S + 1
    before = bank.count("Admit")
    await till.admitted()

    assert bank.count("Admit") == before == 2
    assert bank.admits[-1].want_nanos == 0


async def test_a_wallet_that_is_made_ends_the_decision_that_nobody_pays(bank: Bank) -> None:
    till = no_wallet(bank)
    await till.admitted()
    bank.wallet_id, bank.mode, bank.version = WALLET, edge_pb.FUNDING_MODE_STRICT, 2
    assert (await till.admitted()).grant.wallet_id == ""

    changed = edge_pb.WalletChanged(organization_id=ORG, resolution_version=2)
    till.hear(edge_pb.WatchResponse(wallet_changed=changed))

    assert (await till.admitted()).grant.wallet_id == WALLET


async def test_another_organizations_wallet_and_an_older_change_end_nothing(bank: Bank) -> None:
    bank.version = 5
    till = no_wallet(bank)
    await till.admitted()
    for organization_id, version in (("org_other", 9), (ORG, 5)):
        changed = edge_pb.WalletChanged(organization_id=organization_id, resolution_version=version)
        till.hear(edge_pb.WatchResponse(wallet_changed=changed))
    await till.admitted()

    assert bank.count("Admit") == 1


async def test_a_decision_that_was_on_its_way_when_the_wallet_changed_is_not_kept(bank: Bank) -> None:
    till = no_wallet(bank)
    bank.answers.clear()
    call = asyncio.create_task(till.admit())
    await settle()
    changed = edge_pb.WalletChanged(organization_id=ORG, resolution_version=2)
    bank.answers.set()
    await until(lambda: bool(bank.admits))
    till.hear(edge_pb.WatchResponse(wallet_changed=changed))
    await call
    bank.wallet_id, bank.mode, bank.version = WALLET, edge_pb.FUNDING_MODE_STRICT, 2

    assert (await till.admitted()).grant.wallet_id == WALLET


async def test_an_organization_that_needs_user_wallets_refuses_from_memory(bank: Bank) -> None:
    till = Till(bank)
    bank.refusal = edge_pb.Refusal(reason=reasons.ERROR_REASON_USER_WALLET_REQUIRED)

    assert await till.admit() == problem.user_wallet_required()
    assert await till.admit() == problem.user_wallet_required()
    assert bank.count("Admit") == 1


async def test_a_strict_wallet_refuses_what_has_no_price_or_no_bound_without_asking(bank: Bank) -> None:
    till = Till(bank)
    await till.admitted()
    bank.asked.clear()
    bank.context_window = 0
    unbounded = await till.admit(call=UNBOUNDED)
    assert isinstance(unbounded, Problem)
    assert unbounded.code == "cost_unbounded"
    bank.priced = False
    unpriced = await till.admit(call=replace(CALL, model="new-model"))

    assert unpriced == problem.price_unknown(provider="openai", model="new-model")
    assert bank.count("Admit") == 0


async def test_a_soft_wallet_is_asked_about_what_has_no_price_and_gives_nothing_for_it(bank: Bank) -> None:
    bank.mode, bank.priced = edge_pb.FUNDING_MODE_SOFT, False
    till = Till(bank)
    for _ in range(2):
        assert (await till.admitted()).grant == Grant(WALLET)

    assert [(request.want_nanos, request.priced) for request in bank.admits] == [(0, False)] * 2


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        ("organization", ""),
        ("team", TEAM),
        ("key", KNOWN.key_id),
        ("customer", "acme"),
        ("user", "user_1"),
        ("user", ""),
        ("feature", "chat"),
        ("tag", "night"),
    ],
)
async def test_what_a_hard_limit_may_count_is_admitted_one_by_one(bank: Bank, scope: str, name: str) -> None:
    bank.selectors = [("feature", "another"), (scope, name)]
    till = Till(bank)
    who = replace(WHO, tags=("day", "night"))
    for _ in range(4):
        intent = await till.admitted(who=who)
        till.give_back(intent, 1)

    assert [request.max_intents for request in bank.admits] == [1] * 4
    assert list(bank.admits[0].attribution.tags) == ["day", "night"]
    assert {unit.unit: unit.amount for unit in bank.admits[0].bound}["output_tokens"] == 9


async def test_what_no_hard_limit_counts_is_not(bank: Bank) -> None:
    bank.selectors = [("user", "another"), ("tag", ""), ("feature", "chat "), ("team", "tem_other")]
    till = Till(bank)
    await till.busy()
    before = bank.count("Admit")
    till.give_back(await till.admitted())

    assert bank.count("Admit") == before


async def test_a_limit_is_reserved_without_money_where_nobody_pays(bank: Bank) -> None:
    bank.selectors = [("organization", "")]
    till = no_wallet(bank)
    bank.priced = False

    intent = await till.admitted()

    (request,) = bank.admits
    assert (request.want_nanos, request.min_nanos, request.max_intents) == (1, 0, 1)
    assert [(part.bound_nanos, part.lease_id) for part in intent.grant.parts] == [
        (0, next(iter(bank.leases)))
    ]
    assert till.give_back(intent, 5) == (0,)
    await till.sweep()
    assert [report.final_count for report in bank.reports] == [1]


async def test_a_hard_limit_that_is_set_in_flight_is_heard_of(bank: Bank) -> None:
    till = Till(bank)
    await till.busy()
    bank.selectors = [("user", "user_1")]
    till.hear(edge_pb.WatchResponse(hard_limits_changed=edge_pb.HardLimitsChanged(organization_id=ORG)))
    # It holds from a card's lifetime on, so the next call need not wait for the new card.
    till.give_back(await till.admitted())
    await settle()
    bank.admits.clear()
    await till.admitted()

    assert [request.max_intents for request in bank.admits] == [1]


async def test_every_model_that_may_run_in_a_call_is_bounded_at_its_own_card(bank: Bank) -> None:
    till = Till(bank)
    share = Share("gpt-4o-mini", replace(CALL.demand, output_max=5), "fallbacks")

    intent = await till.admitted(call=replace(CALL, shares=(share,)))

    assert intent.grant.bound_nanos == BOUND + BOUND - 4
    assert bank.count("GetRateCard") == 2


async def test_known_calls_go_on_while_a_lease_is_there_and_no_longer(bank: Bank) -> None:
    till = Till(bank)
    await till.busy()
    till.give_back(await till.admitted())
    bank.down = True
    till.clock.now = 35
    for _ in range(3):
        till.give_back(await till.admitted())
        await settle()

    till.clock.now = bank.life_s - GUARD_S
    refused = await till.admit()
    assert refused == problem.unavailable()
    assert isinstance(refused, Problem)
    assert refused.retry_after_s


async def test_a_call_without_the_server_is_counted_once(bank: Bank) -> None:
    """As much as was counted is asked for ahead when the server is back."""
    till = Till(bank)
    till.give_back(await till.admitted())
    await till.sweep()
    purse = till.drawers.of(WALLET).purse
    purse.note_demand(1, 0)
    before = purse.wanted_nanos(0) if len(purse._demand) > 1 else 1
    bank.down = True

    assert await till.admit() == problem.unavailable()

    assert purse.wanted_nanos(0) == before + BOUND


async def test_a_call_whose_cap_is_lowered_is_counted_once(bank: Bank) -> None:
    till = Till(bank)
    till.give_back(await till.admitted())
    await settle()
    till.clock.now = IDLE_S
    await till.sweep()
    bank.available = BOUND - 4
    purse = till.drawers.of(WALLET).purse
    purse.note_demand(1, till.clock.now)
    purse.note_demand(1, till.clock.now)
    before = purse.wanted_nanos(till.clock.now)

    refused = await till.admit()
    assert isinstance(refused, Problem)
    assert refused.output_tokens_max == 5
    smaller = replace(CALL, demand=replace(CALL.demand, output_max=5), output_clamped=5)
    granted = (await till.admitted(call=smaller)).grant

    assert granted.bound_nanos == BOUND - 4
    assert purse.wanted_nanos(till.clock.now) == before + BOUND


async def test_a_call_for_which_the_journal_has_no_room_takes_nothing_and_asks_nobody(bank: Bank) -> None:
    till = Till(bank)
    await till.busy()
    bank.asked.clear()
    written = list(till.notes.written)
    left = till.drawers.left_nanos(WALLET)
    till.notes.room = False

    assert await till.admit() == problem.unavailable()
    assert await till.admit(user_id="another") == problem.unavailable()

    assert (bank.asked, till.notes.written, till.drawers.left_nanos(WALLET)) == ([], written, left)
    till.notes.room = True
    assert isinstance(await till.admit(), Intent)


async def test_a_lease_that_comes_when_the_disk_is_full_goes_back_unwritten(bank: Bank) -> None:
    till = Till(bank)
    bank.answers.clear()
    call = asyncio.create_task(till.admit())
    await until(lambda: "GetRateCard" in bank.asked)
    till.notes.room = False
    bank.answers.set()

    assert await call == problem.unavailable()
    await settle()

    assert till.notes.written == []
    assert [(report.final_count, report.keep_nanos) for report in bank.reports] == [(0, 0)]
    assert bank.count("Admit") == 1


async def test_a_full_disk_refuses_a_call_before_the_server_sets_money_aside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with edge(answers) as proxy:
        monkeypatch.setattr(segment, "_allocate", _no_room)
        refused = await proxy.ask()
        monkeypatch.undo()
        assert (refused.status, proxy.server.admit_requests, proxy.provider.exchanges) == (503, [], [])

        assert (await proxy.ask()).status == 200
        assert len(proxy.server.admit_requests) == 1


def _no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "no space")


async def test_a_strict_wallet_never_passes_unfunded(bank: Bank) -> None:
    till = Till(bank)
    till.give_back(await till.admitted())
    await till.sweep()
    bank.down = True

    assert await till.admit() == problem.unavailable()


@pytest.mark.parametrize("mode", [edge_pb.FUNDING_MODE_SOFT, edge_pb.FUNDING_MODE_NO_WALLET])
async def test_who_may_goes_on_without_money_for_the_grace_and_says_so(
    bank: Bank, mode: edge_pb.FundingMode.ValueType
) -> None:
    bank.mode, bank.wallet_id = mode, WALLET if mode == edge_pb.FUNDING_MODE_SOFT else ""
    till = Till(bank, grace_s=900)
    await till.keys.find(WHO.api_key)
    till.give_back(await till.admitted())
    till.clock.now = 60.0
    till.hear(edge_pb.WatchResponse())
    bank.down = True

    till.clock.now = 60.0 + 899
    intent = await till.admitted()
    assert intent.grant == Grant(bank.wallet_id, unfunded=True)
    till.clock.now = 60.0 + 900
    assert await till.admit() == problem.unavailable()


async def test_without_a_grace_nothing_goes_on_without_money(bank: Bank) -> None:
    till = Till(no_wallet(bank).bank, grace_s=0)
    await till.keys.find(WHO.api_key)
    await till.admitted()
    bank.down = True
    till.clock.now = PAYER_TIME_TO_LIVE_S

    assert await till.admit() == problem.unavailable()


async def test_a_hard_limit_lets_nothing_go_on_while_nobody_can_count(bank: Bank) -> None:
    bank.selectors = [("organization", "")]
    till = no_wallet(bank)
    await till.keys.find(WHO.api_key)
    await till.admitted()
    bank.down = True

    assert await till.admit() == problem.unavailable()


async def test_who_is_not_known_is_not_admitted_while_the_server_is_away(bank: Bank) -> None:
    till = no_wallet(bank)
    await till.keys.find(WHO.api_key)
    await till.admitted()
    bank.down = True
    till.clock.now = KEY_TIME_TO_LIVE_S

    assert await till.admit(user_id="another") == problem.unavailable()
    assert await till.admit(call=replace(CALL, model="another")) == problem.unavailable()


async def test_calls_go_on_as_before_when_the_server_is_back(bank: Bank) -> None:
    till = Till(bank)
    till.spending._admitter._retry_delay_s = 0.001
    till.give_back(await till.admitted())
    await till.sweep()
    bank.down = True
    assert isinstance(await till.admit(), Problem)
    bank.down = False

    await until(lambda: not till.drawers.of(WALLET).unanswered)

    assert isinstance(await till.admit(), Intent)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("KEY_REVOKED", problem.invalid_api_key()),
        ("NOT_FOUND", problem.invalid_api_key()),
        ("IDEMPOTENCY_KEY_REUSED", problem.unavailable()),
        ("", problem.unavailable()),
    ],
)
async def test_an_error_of_admission_is_a_key_that_ended_or_our_trouble(
    bank: Bank, reason: str, expected: Problem
) -> None:
    bank.errors["Admit"] = [ServerRefused(reason)]

    assert await Till(bank).admit() == expected


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (
            edge_pb.Refusal(reason=reasons.ERROR_REASON_LIMIT_REACHED, limit_id="lim_1", window="day"),
            problem.limit_reached(limit_id="lim_1", window="day"),
        ),
        (
            edge_pb.Refusal(reason=reasons.ERROR_REASON_PRICE_UNKNOWN),
            problem.price_unknown(provider="openai", model="gpt-4o"),
        ),
        (edge_pb.Refusal(reason=reasons.ERROR_REASON_USER_WALLET_REQUIRED), problem.user_wallet_required()),
        (edge_pb.Refusal(reason=reasons.ERROR_REASON_WALLET_BLOCKED), problem.wallet_blocked()),
        (edge_pb.Refusal(reason=reasons.ERROR_REASON_INTERNAL), problem.unavailable()),
    ],
)
async def test_each_refusal_has_its_problem(bank: Bank, refusal: edge_pb.Refusal, expected: Problem) -> None:
    bank.refusal = refusal

    assert await Till(bank).admit() == expected


async def test_the_bound_of_the_test_is_the_one_on_paper() -> None:
    assert len(CHAT) + 25 == BOUND
