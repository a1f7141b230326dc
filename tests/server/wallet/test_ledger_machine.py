"""The ledger against a reference that moves one unit at a time, over random histories.

Hypothesis finds the shortest history that breaks a rule; the seeded runs are longer, and count that
what is rare has happened.
"""

import random
from collections import Counter
from itertools import groupby

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from om_server.wallet.entry import Entry
from tests.server.wallet.twin import Twins

AMOUNTS = st.integers(0, 12)
WHICH = st.integers(0, 3)
PARTS = st.integers(0, 4)


class LedgerMachine(RuleBasedStateMachine):
    """Every rule is one operation; the clock and the settings change between them."""

    def __init__(self) -> None:
        super().__init__()
        self.twins = Twins()
        self.others = Twins(name="other")

    @initialize(soft=st.booleans(), limit=AMOUNTS)
    def open(self, soft: bool, limit: int) -> None:  # noqa: FBT001 - a drawn value
        self.twins = Twins(soft=soft, limit=limit)

    @rule(
        amount=st.integers(1, 12),
        priority=st.integers(1, 2),
        life=st.none() | st.integers(1, 6),
        number=st.integers(0, 9),
    )
    def fund(self, amount: int, priority: int, life: int | None, number: int) -> None:
        self.twins.fund(amount, priority=priority, life=life, number=number)

    @rule(amount=AMOUNTS)
    def reserve(self, amount: int) -> None:
        self.twins.reserve(amount)

    @rule(which=WHICH, part=PARTS)
    def capture(self, which: int, part: int) -> None:
        self.twins.capture(which, part)

    @rule(which=WHICH, part=PARTS)
    def release(self, which: int, part: int) -> None:
        self.twins.release(which, part)

    @rule(amount=AMOUNTS)
    def charge(self, amount: int) -> None:
        self.twins.charge(amount)

    @rule(amount=st.integers(1, 12))
    def deduct(self, amount: int) -> None:
        self.twins.deduct(amount)

    @rule(amount=st.integers(-12, 12).filter(bool))
    def adjust(self, amount: int) -> None:
        self.twins.adjust(amount)

    @rule(which=WHICH, part=PARTS)
    def refund(self, which: int, part: int) -> None:
        self.twins.refund(which, part)

    @rule(amount=st.integers(1, 12), life=st.integers(1, 6))
    def hold(self, amount: int, life: int) -> None:
        self.twins.hold(amount, life)

    @rule(which=WHICH, part=PARTS)
    def capture_hold(self, which: int, part: int) -> None:
        self.twins.capture_hold(which, part)

    @rule(which=WHICH)
    def release_hold(self, which: int) -> None:
        self.twins.release_hold(which)

    @rule(amount=st.integers(1, 12), back=st.booleans())
    def transfer(self, amount: int, back: bool) -> None:  # noqa: FBT001 - a drawn value
        source, target = (self.others, self.twins) if back else (self.twins, self.others)
        source.transfer(target, amount)

    @rule(amount=AMOUNTS)
    def charge_the_other(self, amount: int) -> None:
        self.others.charge(amount)

    @rule(passed=st.integers(0, 4), soft=st.booleans(), limit=AMOUNTS)
    def reopen(self, passed: int, soft: bool, limit: int) -> None:  # noqa: FBT001 - a drawn value
        self.twins.reopen(passed=passed, soft=soft, limit=limit)
        self.others.reopen(passed=passed, soft=False, limit=0)

    @invariant()
    def all_is_as_expected(self) -> None:
        self.twins.check()
        self.others.check()
        assert self.twins.expected.given + self.others.expected.given == 0


LedgerMachine.TestCase.settings = settings(stateful_step_count=30)
TestLedgerMachine = LedgerMachine.TestCase


ACTS = {
    "fund": 2,
    "reserve": 4,
    "capture": 3,
    "release": 3,
    "charge": 2,
    "adjust": 1,
    "refund": 3,
    "hold": 2,
    "capture_hold": 2,
    "release_hold": 1,
    "transfer": 2,
    "reopen": 3,
}


def play(seed: int) -> list[Entry]:  # noqa: C901 - one branch for each operation
    """A history of a hundred and fifty operations."""
    chance = random.Random(seed)
    twins = Twins(soft=chance.random() < 0.6, limit=chance.randrange(12))
    others = Twins(name="other")
    for _ in range(150):
        (act,) = chance.choices(tuple(ACTS), tuple(ACTS.values()))
        if act == "fund":
            life = chance.choice((None, 1, 3, 6, 9))
            twins.fund(
                chance.randint(1, 9), priority=chance.randint(1, 2), life=life, number=chance.randrange(9)
            )
        elif act == "reserve":
            twins.reserve(chance.randrange(12))
        elif act in ("capture", "release", "refund", "capture_hold"):
            getattr(twins, act)(chance.randrange(4), chance.randrange(5))
        elif act == "charge":
            chance.choice((twins.charge, twins.charge, twins.deduct))(chance.randint(1, 9))
        elif act == "adjust":
            twins.adjust(chance.choice((-5, -2, 2, 5)))
        elif act == "hold":
            twins.hold(chance.randint(1, 9), chance.randint(1, 9))
        elif act == "release_hold":
            twins.release_hold(chance.randrange(4))
        elif act == "transfer":
            others.adjust(chance.choice((3, 5)))
            others.charge(chance.randrange(3))
            pair = (twins, others) if chance.random() < 0.5 else (others, twins)
            pair[0].transfer(pair[1], chance.randint(1, 9))
        else:
            soft, limit = twins.expected.soft, twins.expected.limit
            if chance.random() < 0.2:
                soft, limit = not soft, chance.randrange(12)
            passed = chance.randrange(4)
            twins.reopen(passed=passed, soft=soft, limit=limit)
            others.reopen(passed=passed, soft=False, limit=0)
        twins.check()
        others.check()
    return twins.history.entries


def test_long_histories_stay_as_expected_and_meet_what_is_rare() -> None:
    met: Counter[str] = Counter()
    for seed in range(60):
        try:
            entries = play(seed)
        except AssertionError as failure:
            failure.add_note(f"seed {seed}")
            raise
        for _, group in groupby(entries, key=lambda entry: entry.group_id):
            rows = list(group)
            met[" ".join(dict.fromkeys(f"{row.kind}>{row.credit_account}" for row in rows))] += 1
            met[f"{rows[0].kind} in {min(3, len({row.grant_id for row in rows}))}"] += 1
    for rare in (
        "capture>revenue repayment>clearing repayment>available",
        "release>available expiry>breakage",
        "release>available repayment>receivable",
        "release>available repayment>clearing repayment>available",
        "grant>available repayment>clearing repayment>available repayment>receivable",
        "charge>revenue receivable>revenue",
        "refund>available repayment>receivable",
        "refund>available repayment>clearing repayment>available",
        "receivable>revenue repayment>receivable",
        "transfer>available repayment>receivable",
        "refund in 2",
        "transfer in 2",
        "reserve in 3",
        "release in 2",
        "capture in 2",
    ):
        assert met[rare] >= 5, (rare, met)
