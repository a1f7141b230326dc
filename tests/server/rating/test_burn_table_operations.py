import pytest

from om_server.core.errors import IdempotencyKeyReused, NotFound, PageTokenInvalid
from om_server.core.page import PageRequest
from om_server.rating.burn_table import BurnRule
from om_server.rating.stored import BurnTableDraft
from om_server.rating.unit_rate import Rate
from tests.server.rating.desk import CREDIT, LEAD, ORG, SECOND, START, Desk, event, nanos, used

DOUBLE = BurnRule(credits_per_cost="2000")
HALF = BurnRule(credits_per_cost="500")


def test_a_new_table_applies_to_nobody(desk: Desk) -> None:
    table_id = desk.table(DOUBLE)

    state = desk.tables.get_burn_table(ORG, table_id)

    assert (state.active, state.effective_time, state.table.rules) == (False, None, (DOUBLE,))
    assert nanos(desk.rate(used())) == 2_000 * CREDIT


@pytest.mark.parametrize("wish", [None, START - LEAD, START, START + LEAD - 1])
def test_a_raise_is_moved_to_two_card_lives_and_the_answer_says_so(desk: Desk, wish: int | None) -> None:
    state = desk.activate(desk.table(DOUBLE), at=wish)

    assert (state.active, state.effective_time) == (False, START + LEAD)
    assert nanos(desk.rate(used(), at=START + LEAD - 1)) == 2_000 * CREDIT
    assert nanos(desk.rate(used(), at=START + LEAD)) == 4_000 * CREDIT
    desk.now = START + LEAD
    assert desk.tables.get_burn_table(ORG, state.table.burn_table_id).active


def test_a_raise_that_is_dated_later_begins_when_it_is_wished(desk: Desk) -> None:
    assert desk.activate(desk.table(DOUBLE), at=START + LEAD + 1).effective_time == START + LEAD + 1


@pytest.mark.parametrize("wish", [None, START - LEAD])
def test_a_discount_applies_now_and_never_in_the_past(desk: Desk, wish: int | None) -> None:
    state = desk.activate(desk.table(HALF), at=wish)

    assert (state.active, state.effective_time) == (True, START)
    assert nanos(desk.rate(used(), at=START - 1)) == 2_000 * CREDIT
    assert nanos(desk.rate(used(), at=START)) == 1_000 * CREDIT


def test_going_back_to_the_default_is_a_raise_after_a_discount(desk: Desk) -> None:
    discount = desk.activate(desk.table(HALF))

    back = desk.activate("default")

    assert (back.table.burn_table_id, back.active, back.effective_time) == ("default", False, START + LEAD)
    desk.now = START + LEAD
    assert desk.tables.get_burn_table(ORG, "default").active
    ended = desk.tables.get_burn_table(ORG, discount.table.burn_table_id)
    assert (ended.active, ended.effective_time) == (False, START)


def test_a_discount_in_the_way_of_a_scheduled_one_is_compared_with_it(desk: Desk) -> None:
    desk.activate(desk.table(BurnRule(credits_per_cost="100")), at=START + SECOND)

    # Below what applies now, and above what applies from the next second on.
    assert desk.activate(desk.table(HALF)).effective_time == START + LEAD


def test_activating_again_changes_nothing(desk: Desk) -> None:
    table_id = desk.table(HALF)
    first = desk.activate(table_id)
    version = desk.database.read(lambda: desk.store.version(ORG))
    desk.now += SECOND

    assert desk.activate(table_id) == first
    assert desk.database.read(lambda: desk.store.version(ORG)) == version


def test_of_two_activations_at_one_time_the_later_written_applies(desk: Desk) -> None:
    at = START + LEAD
    desk.activate(desk.table(DOUBLE), at=at)
    desk.now += 1
    desk.activate(desk.table(HALF), at=at)

    assert nanos(desk.rate(used(), at=at)) == 1_000 * CREDIT


def test_a_table_says_when_another_takes_its_place(desk: Desk) -> None:
    raised = desk.activate(desk.table(DOUBLE))
    begin = raised.effective_time or 0
    assert desk.tables.get_burn_table(ORG, "default").expire_time == begin

    desk.activate("default", at=begin + SECOND)

    state = desk.tables.get_burn_table(ORG, raised.table.burn_table_id)
    assert (state.effective_time, state.expire_time) == (begin, begin + SECOND)
    desk.now = begin + SECOND
    state = desk.tables.get_burn_table(ORG, raised.table.burn_table_id)
    assert (state.active, state.effective_time, state.expire_time) == (False, begin, begin + SECOND)
    assert desk.tables.get_burn_table(ORG, "default").expire_time is None


def test_a_table_that_was_called_off_is_not_coming(desk: Desk) -> None:
    raised = desk.activate(desk.table(DOUBLE))
    table_id = raised.table.burn_table_id

    desk.activate("default", at=raised.effective_time)

    state = desk.tables.get_burn_table(ORG, table_id)
    assert (state.active, state.effective_time) == (False, None)
    desk.now = START + LEAD
    assert not desk.tables.get_burn_table(ORG, table_id).active
    assert nanos(desk.rate(used(), at=START + LEAD)) == 2_000 * CREDIT


def test_a_table_of_a_customer_applies_to_that_customer_alone(desk: Desk) -> None:
    desk.activate(desk.table(HALF))
    desk.activate(desk.table(BurnRule(credits_per_cost="100"), customer="acme"))

    assert nanos(desk.rate(used(), customer="acme")) == 200 * CREDIT
    assert nanos(desk.rate(used(), customer="other")) == 1_000 * CREDIT
    assert nanos(desk.rate(used())) == 1_000 * CREDIT


def test_the_first_table_of_a_customer_is_compared_with_the_organizations(desk: Desk) -> None:
    desk.activate(desk.table(HALF))

    state = desk.activate(desk.table(BurnRule(credits_per_cost="700"), customer="acme"))

    assert state.effective_time == START + LEAD


def test_another_organizations_table_is_as_good_as_none(desk: Desk) -> None:
    table_id = desk.table(HALF)

    for call in (desk.tables.get_burn_table, desk.tables.activate_burn_table, desk.tables.stored_table):
        with pytest.raises(NotFound) as raised:
            call("org_b", table_id)
        assert raised.value.metadata == {"kind": "burn_table", "id": table_id}
    assert desk.tables.list_burn_tables("org_b", page=PageRequest.of()).tables == ()
    desk.activate(table_id)
    assert nanos(desk.rate(used(), org="org_b")) == 2_000 * CREDIT


def test_a_repeat_gives_the_same_table_and_other_content_conflicts(desk: Desk) -> None:
    draft = BurnTableDraft("a table", (HALF,))
    first = desk.tables.create_burn_table(ORG, draft, idempotency_key="k")

    assert desk.tables.create_burn_table(ORG, draft, idempotency_key="k") == first
    with pytest.raises(IdempotencyKeyReused):
        desk.tables.create_burn_table(ORG, BurnTableDraft("a table", (DOUBLE,)), idempotency_key="k")
    assert desk.tables.create_burn_table("org_b", draft, idempotency_key="k") != first
    assert len(desk.tables.list_burn_tables(ORG, page=PageRequest.of()).tables) == 1


def test_tables_are_listed_newest_first_in_pages(desk: Desk) -> None:
    made = [desk.table(HALF, customer="acme" if number % 2 else "") for number in range(5)]

    def listed(customer: str = "", size: int = 2) -> list[str]:
        found, token = [], ""
        while True:
            page = desk.tables.list_burn_tables(ORG, customer_id=customer, page=PageRequest.of(size, token))
            assert len(page.tables) <= size
            found += [state.table.burn_table_id for state in page.tables]
            token = page.next_page_token
            if not token:
                return found

    assert listed() == made[::-1]
    assert listed("acme") == [made[3], made[1]]
    token = desk.tables.list_burn_tables(ORG, page=PageRequest.of(2)).next_page_token
    with pytest.raises(PageTokenInvalid):
        desk.tables.list_burn_tables(ORG, customer_id="acme", page=PageRequest.of(2, token))


def test_stored_rules_come_back_as_they_were_written(desk: Desk) -> None:
    rule = BurnRule(
        "chat",
        "OpenAI",
        "gpt-*",
        "12.5",
        rates=(
            Rate("images", "40", 1, (("quality", "hd"), ("size", "xl"))),
            Rate("input_tokens", "1"),
            Rate("input_tokens", "2", context_threshold=200_000),
        ),
        flat_nanos=3,
        minimum_nanos=4,
        free_units=(("images", 1),),
        cached_answer_nanos=0,
    )

    found = desk.tables.get_burn_table(ORG, desk.table(rule, HALF))

    assert found.table.rules == (rule, HALF)


def test_every_event_of_a_transaction_sees_one_state_and_its_own_writes(desk: Desk) -> None:
    line = event(used(), at=START)
    reads = 0
    version = desk.store.version

    def counted(organization_id: str) -> str:
        nonlocal reads
        reads += 1
        return version(organization_id)

    desk.store.version = counted  # type: ignore[method-assign]

    def settle() -> list[int | None]:
        before = [nanos(desk.rating.rate_event(line)) for _ in range(50)]
        assert reads == 1
        desk.activate(desk.table(HALF))
        return [*before[:1], nanos(desk.rating.rate_event(line))]

    assert desk.database.write(settle) == [2_000 * CREDIT, 1_000 * CREDIT]


def test_what_was_rolled_back_rates_nothing(desk: Desk) -> None:
    class Abort(Exception):
        pass

    def settle() -> None:
        desk.activate(desk.table(HALF))
        assert nanos(desk.rating.rate_event(event(used(), at=START))) == 1_000 * CREDIT
        raise Abort

    with pytest.raises(Abort):
        desk.database.write(settle)

    assert nanos(desk.rating.rate_event(event(used(), at=START))) == 2_000 * CREDIT
    desk.activate(desk.table(BurnRule(credits_per_cost="100")))
    assert nanos(desk.database.write(lambda: desk.rating.rate_event(event(used(), at=START)))) == 200 * CREDIT


def test_another_process_that_has_a_snapshot_sees_the_change_at_once(desk: Desk) -> None:
    other = Desk(desk.database)
    desk.activate(desk.table(HALF))
    assert nanos(other.rate(used())) == 1_000 * CREDIT

    desk.activate(desk.table(BurnRule(credits_per_cost="100")))

    assert (
        nanos(other.database.write(lambda: other.rating.rate_event(event(used(), at=START)))) == 200 * CREDIT
    )


def test_the_rate_card_has_the_dearest_of_all_tables_of_its_life(desk: Desk) -> None:
    def output() -> int:
        card = desk.rating.rate_card(ORG, "", provider="openai", models=["m"])
        return card.models[0].rates["output_tokens"]

    desk.activate(desk.table(DOUBLE))
    assert output() == 10_000 * CREDIT
    desk.now = START + LEAD - 60 * SECOND
    assert output() == 10_000 * CREDIT
    desk.now += 1
    assert output() == 20_000 * CREDIT
    desk.activate(desk.table(HALF))
    # The discount applies now, and what is scheduled still comes.
    assert output() == 20_000 * CREDIT
