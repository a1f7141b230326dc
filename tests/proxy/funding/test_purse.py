from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from om_proxy.funding.grant import Grant
from om_proxy.funding.lease import Declaration, Granted
from om_proxy.funding.purse import DEMAND_S, IDLE_S, PARTS_MAX, RECALL_IDLE_S, Part, Purse


def gave_back(purse: Purse, parts: tuple[Part, ...], kept_nanos: int, *, now: float) -> tuple[int, ...]:
    """End a call as its event does: what it keeps is spread over its parts."""
    shares = Grant(parts=parts).shares(kept_nanos)
    purse.give_back(parts, shares, now)
    return shares


def granted(lease_id: str, amount_nanos: int, *, max_intents: int = 0, spend_until: float = 55.0) -> Granted:
    return Granted(lease_id, "wal_1", amount_nanos, max_intents, spend_until)


def purse_with(*amounts: int) -> Purse:
    purse = Purse()
    for index, amount in enumerate(amounts):
        purse.add(granted(f"lse_{index}", amount), 0.0)
    return purse


def test_a_call_takes_from_the_first_lease_that_has_enough() -> None:
    purse = purse_with(5, 20, 30)

    assert purse.take(10, 1.0) == (Part("lse_1", 10),)
    assert purse.left_nanos(1.0) == 45


def test_a_call_takes_the_rests_of_several_leases_where_none_has_enough() -> None:
    purse = purse_with(3, 5, 4)

    assert purse.take(10, 1.0) == (Part("lse_1", 5), Part("lse_2", 4), Part("lse_0", 1))
    assert purse.left_nanos(1.0) == 2


def test_a_call_that_the_leases_cannot_pay_takes_nothing() -> None:
    purse = purse_with(3, 5)

    assert purse.take(9, 1.0) is None
    assert purse.left_nanos(1.0) == 8


def test_a_call_names_no_more_leases_than_an_event_may() -> None:
    purse = purse_with(*[1] * (PARTS_MAX + 1))

    assert purse.take(PARTS_MAX + 1, 1.0) is None
    assert len(purse.take(PARTS_MAX, 1.0) or ()) == PARTS_MAX


def test_a_call_keeps_at_most_what_it_took_and_the_rest_may_be_spent_again() -> None:
    purse = purse_with(3, 5)
    parts = purse.take(8, 1.0)
    assert parts is not None

    assert gave_back(purse, parts, 6, now=2.0) == (5, 1)
    assert purse.left_nanos(2.0) == 2
    parts = purse.take(2, 3.0)
    assert parts is not None
    assert gave_back(purse, parts, 1_000, now=4.0) == (2,)


def test_nothing_is_spent_behind_the_guard_and_the_lease_is_declared_with_what_is_in_flight() -> None:
    purse = purse_with(10)
    parts = purse.take(4, 1.0)
    assert parts is not None

    assert list(purse.due(54.9)) == []
    assert purse.take(4, 55.0) is None
    assert list(purse.due(55.0)) == [Declaration("lse_0", 1, 4)]
    assert list(purse.due(56.0)) == []
    assert gave_back(purse, parts, 3, now=57.0) == (3,)
    assert len(purse) == 0


def test_a_lease_that_nobody_uses_is_given_back_and_one_in_use_is_not() -> None:
    purse = purse_with(10)
    parts = purse.take(4, 1.0)
    assert parts is not None

    assert list(purse.due(1.0 + IDLE_S)) == []
    gave_back(purse, parts, 3, now=5.0)
    assert list(purse.due(5.0 + IDLE_S - 0.1)) == []
    assert list(purse.due(5.0 + IDLE_S)) == [Declaration("lse_0", 1, 3)]


def test_a_lease_that_a_neighbour_needs_is_given_up_as_soon_as_no_call_takes_from_it() -> None:
    purse = purse_with(10, 10)
    assert purse.take(4, 1.0) == (Part("lse_0", 4),)

    assert purse.recall("lse_0")
    assert list(purse.due(1.0)) == []
    # The call is still in flight, and its whole bound stays.
    assert list(purse.due(1.0 + RECALL_IDLE_S)) == [Declaration("lse_0", 1, 4)]
    assert not purse.recall("lse_0")
    assert not purse.recall("lse_unknown")
    assert purse.take(10, 1.1) == (Part("lse_1", 10),)


def test_a_lease_for_one_call_is_spent_from_once_and_declared_when_that_has_ended() -> None:
    purse = Purse()
    purse.add(granted("lse_0", 10, max_intents=1), 0.0)
    parts = purse.take(4, 1.0)
    assert parts is not None

    assert purse.take(4, 1.0) is None
    assert list(purse.due(100.0)) == [], "its count is known from its birth"
    gave_back(purse, parts, 3, now=101.0)
    assert list(purse.due(101.0)) == [Declaration("lse_0", 1, 3)]
    assert len(purse) == 0


def test_a_stream_is_extended_from_the_lease_that_was_granted_for_it_alone() -> None:
    purse = Purse()
    purse.add(granted("lse_0", 10, max_intents=1), 0.0)
    parts = purse.take_of("lse_0", 4, 1.0)
    assert parts is not None

    assert purse.extend(parts, 6, 2.0) == (Part("lse_0", 10),)


def test_a_call_that_was_never_begun_is_not_counted() -> None:
    purse = purse_with(10)
    single = granted("lse_one", 10, max_intents=1)
    purse.add(single, 0.0)
    parts = purse.take(4, 1.0)
    assert parts is not None
    alone = purse.take_of("lse_one", 4, 1.0)
    assert alone is not None

    purse.untake(parts)
    purse.untake(alone)

    assert purse.left_nanos(1.0) == 20
    assert purse.end_all() == [Declaration("lse_0", 0, 0), Declaration("lse_one", 0, 0)]
    assert len(purse) == 0


def test_a_call_is_not_paid_from_a_lease_that_has_less_than_was_granted_for_it() -> None:
    purse = purse_with(3)

    assert purse.take_of("lse_0", 4, 1.0) is None
    assert purse.take_of("lse_1", 1, 1.0) is None
    assert purse.take_of("lse_0", 3, 55.0) is None


def test_what_a_call_may_reach_leaves_room_for_one_more_lease() -> None:
    purse = purse_with(*range(1, PARTS_MAX + 2))

    assert purse.within_reach_nanos(1.0) == sum(range(3, PARTS_MAX + 2))


def test_a_purse_is_low_when_less_than_half_of_the_demand_is_left() -> None:
    purse = purse_with(10)
    purse.note_demand(10, 1.0)
    assert not purse.low(1.0)
    purse.note_demand(10, 1.0)
    assert not purse.low(1.0)
    purse.note_demand(1, 1.0)
    assert purse.low(1.0)


def test_a_lease_for_one_call_that_nobody_made_is_declared_unused() -> None:
    purse = Purse()
    purse.add(granted("lse_0", 10, max_intents=1), 0.0)

    assert list(purse.due(IDLE_S)) == [Declaration("lse_0", 0, 0)]


def test_a_stream_is_extended_from_the_lease_that_it_names() -> None:
    purse = purse_with(10, 10)
    parts = purse.take(4, 1.0)
    assert parts is not None

    assert purse.extend(parts, 6, 2.0) == (Part("lse_0", 10),)
    assert list(purse.due(60.0)) == [Declaration("lse_0", 1, 10), Declaration("lse_1", 0, 0)]


def test_a_stream_is_extended_from_another_lease_where_its_own_has_no_more() -> None:
    purse = purse_with(10, 10)
    parts = purse.take(4, 1.0)
    assert parts is not None

    more = purse.extend(parts, 7, 2.0)

    assert more == (Part("lse_0", 4), Part("lse_1", 7))
    assert purse.extend(more, 7, 2.0) is None


def test_the_demand_is_what_calls_asked_for_in_the_last_while() -> None:
    purse = Purse()
    purse.note_demand(5, 0.0)
    assert purse.wanted_nanos(0.0) == 0, "one call is no demand: it gets a lease of its own"
    purse.note_demand(7, 1.0)

    assert purse.wanted_nanos(2.0) == 12
    assert purse.wanted_nanos(1.0 + DEMAND_S) == 0
    purse.note_demand(1, 20.0)
    purse.note_demand(2, 20.0)
    assert purse.wanted_nanos(20.0) == 3


class PurseMachine(RuleBasedStateMachine):
    """Against plain sums: a lease never pays more than it has, and its declaration holds whatever follows."""

    calls: Bundle[tuple[Part, ...]] = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.purse = Purse()
        self.now = 0.0
        self.amounts: dict[str, int] = {}
        self.kept: dict[str, int] = {}
        self.in_flight: dict[str, int] = {}
        self.names: dict[str, int] = {}
        self.declared: dict[str, Declaration] = {}

    @rule(amount=st.integers(0, 50), single=st.booleans())
    def grant(self, amount: int, *, single: bool) -> None:
        lease_id = f"lse_{len(self.amounts)}"
        self.amounts[lease_id] = amount
        self.kept[lease_id] = self.in_flight[lease_id] = self.names[lease_id] = 0
        lease = granted(lease_id, amount, max_intents=int(single), spend_until=self.now + 55)
        self.purse.add(lease, self.now)

    @rule(target=calls, nanos=st.integers(0, 60))
    def take(self, nanos: int) -> tuple[Part, ...]:
        left = self.purse.left_nanos(self.now)
        parts = self.purse.take(nanos, self.now)
        if parts is None:
            assert left < nanos or len(self.amounts) > PARTS_MAX or not left
            return ()
        assert sum(part.bound_nanos for part in parts) == nanos
        self._note(parts)
        return parts

    @rule(target=calls, parts=consumes(calls), nanos=st.integers(1, 30))
    def extend(self, parts: tuple[Part, ...], nanos: int) -> tuple[Part, ...]:
        more = self.purse.extend(parts, nanos, self.now) if parts else None
        if more is None:
            return parts
        assert sum(part.bound_nanos for part in more) == nanos + sum(part.bound_nanos for part in parts)
        for part in parts:
            self.in_flight[part.lease_id] -= part.bound_nanos
            self.names[part.lease_id] -= 1
        self._note(more)
        return more

    @rule(parts=consumes(calls), kept=st.integers(0, 100))
    def give_back(self, parts: tuple[Part, ...], kept: int) -> None:
        shares = gave_back(self.purse, parts, kept, now=self.now)
        assert sum(shares) == min(kept, sum(part.bound_nanos for part in parts))
        for part, share in zip(parts, shares, strict=True):
            assert 0 <= share <= part.bound_nanos
            self.in_flight[part.lease_id] -= part.bound_nanos
            self.kept[part.lease_id] += share

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self._declare(list(self.purse.due(self.now)))

    @rule(parts=consumes(calls))
    def never_begin(self, parts: tuple[Part, ...]) -> None:
        if any(part.lease_id in self.declared for part in parts):
            return
        self.purse.untake(parts)
        for part in parts:
            self.in_flight[part.lease_id] -= part.bound_nanos
            self.names[part.lease_id] -= 1

    @rule()
    def recall_the_first(self) -> None:
        self.purse.recall(next(iter(self.amounts), ""))

    @rule()
    def end(self) -> None:
        self._declare(self.purse.end_all())

    @invariant()
    def no_lease_pays_more_than_it_has(self) -> None:
        for lease_id, amount in self.amounts.items():
            assert self.kept[lease_id] + self.in_flight[lease_id] <= amount

    @invariant()
    def a_declaration_stays_true(self) -> None:
        for lease_id, said in self.declared.items():
            assert said.final_count == self.names[lease_id]
            assert self.kept[lease_id] + self.in_flight[lease_id] <= said.keep_nanos

    def _note(self, parts: Sequence[Part]) -> None:
        for part in parts:
            self.in_flight[part.lease_id] += part.bound_nanos
            self.names[part.lease_id] += 1

    def _declare(self, found: Sequence[Declaration]) -> None:
        for declaration in found:
            assert declaration.lease_id not in self.declared
            self.declared[declaration.lease_id] = declaration


TestPurseMachine = PurseMachine.TestCase
TestPurseMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
