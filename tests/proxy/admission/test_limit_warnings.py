"""What calls are told of soft limits, without a question that would not have been asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from om_proxy.admission.limit_warnings import SHOWN_FOR_S
from tests.proxy.bank import Bank, Till
from tests.proxy.intents import WHO

_FEATURE = WHO.feature_id


@pytest.fixture
def bank() -> Bank:
    return Bank()


async def test_a_call_is_told_which_soft_limits_it_passes(bank: Bank) -> None:
    bank.warnings[_FEATURE] = ["ent_1", "ent_2"]

    assert (await Till(bank).admitted()).limit_warnings == ("ent_1", "ent_2")


async def test_a_call_from_a_lease_is_told_what_the_last_answer_said_of_such_a_call(bank: Bank) -> None:
    bank.warnings[_FEATURE] = ["ent_1"]
    till = Till(bank)
    await till.busy()
    asked = bank.count("Admit")

    told = []
    # Of the others nobody was asked.
    for who in (WHO, replace(WHO, feature_id="other"), replace(WHO, tags=("other",))):
        intent = await till.admitted(who=who)
        told.append(intent.limit_warnings)
        till.give_back(intent)
    assert told == [("ent_1",), (), ()]
    assert bank.count("Admit") == asked


async def test_a_warning_ends_with_the_next_answer(bank: Bank) -> None:
    bank.selectors = [("organization", "")]
    till = Till(bank)
    bank.warnings[_FEATURE] = ["ent_1"]
    assert (await till.admitted()).limit_warnings == ("ent_1",)
    bank.warnings.clear()

    assert (await till.admitted()).limit_warnings == ()


async def test_a_warning_ends_after_half_a_minute(bank: Bank) -> None:
    till = Till(bank)
    bank.warnings[_FEATURE] = ["ent_1"]
    await till.busy()
    bank.down = True
    till.clock.now = SHOWN_FOR_S - 1
    assert (await till.admitted()).limit_warnings == ("ent_1",)
    till.clock.now = SHOWN_FOR_S

    assert (await till.admitted()).limit_warnings == ()


async def test_no_more_are_named_than_a_header_holds(bank: Bank) -> None:
    bank.warnings[_FEATURE] = [f"ent_{number}" for number in range(99)]

    assert len((await Till(bank).admitted()).limit_warnings) == 8
