import json
import textwrap

import pytest

from om_server.rating import burn_table_file
from om_server.rating.burn_table import BurnRule
from om_server.rating.burn_table_file import read_burn_tables
from om_server.rating.flaw import RulesInvalid
from om_server.rating.unit_rate import Rate
from tests.server.rating.desk import CREDIT, LEAD, ORG, SECOND, START, Desk, nanos, used


def file(*tables: object, **fields: object) -> str:
    return json.dumps({"format": 1, "currency": "CREDITS", "tables": list(tables), **fields})


def table(*rules: object, **fields: object) -> dict[str, object]:
    return {"name": "Autumn", "rules": list(rules), **fields}


HALF = {"credits_per_dollar": "500"}


def test_the_documented_example_is_read_as_it_is_described() -> None:
    text = (burn_table_file.__doc__ or "").split("\n\n")[1]

    [filed] = read_burn_tables(textwrap.dedent(text))

    assert (filed.draft.display_name, filed.draft.customer_id) == ("Autumn 2026", "acme")
    assert filed.effective_time == 1_796_083_200 * SECOND
    assert filed.draft.rules == (
        BurnRule("search", flat_nanos=2 * CREDIT, cached_answer_nanos=CREDIT // 2),
        BurnRule("", "openai", "gpt-4*", "1200", minimum_nanos=CREDIT),
        BurnRule(
            model_pattern="dall-e-3",
            rates=(
                Rate("images", "40", 1, (("quality", "standard"),)),
                Rate("images", "80", 1, (("quality", "hd"),)),
            ),
            free_units=(("images", 1),),
        ),
        BurnRule(
            provider="google",
            rates=(
                Rate("output_tokens", "12"),
                Rate("input_tokens", "2"),
                Rate("input_tokens", "4", context_threshold=200_000),
            ),
        ),
        BurnRule("batch", rates=(Rate("requests", "5", 1), Rate("requests", "4", 1, quantity_threshold=100))),
    )


@pytest.mark.parametrize(
    ("text", "flaws"),
    [
        ("{", ["FORMAT line 1"]),
        ('{"format": 1, "format": 1}', ["FORMAT format"]),
        ("[]", ["FORMAT $", "FORMAT $.format", "CURRENCY $.currency", "FORMAT $.tables"]),
        (file(format=2), ["FORMAT $.format"]),
        (file(format=True), ["FORMAT $.format"]),
        (file(currency="USD"), ["CURRENCY $.currency"]),
        (file(extra=1), ["FORMAT $.extra"]),
        (file(7), ["FORMAT $.tables[0]", "FORMAT $.tables[0].rules", "FORMAT $.tables[0].name"]),
        (file(table(HALF, name="")), ["FORMAT $.tables[0].name"]),
        (file(table(HALF), table(HALF)), ["TABLE_TWICE $.tables[1]"]),
        (file(table(HALF, **{"from": "2026-12-01"})), ["FORMAT $.tables[0].from"]),
        (file(table(HALF, **{"from": "soon"})), ["FORMAT $.tables[0].from"]),
        (file(table({**HALF, "fee": "1"})), ["FORMAT $.tables[0].rules[0].fee"]),
        (file(table({"flat": "-1"})), ["NEGATIVE $.tables[0].rules[0].flat"]),
        (file(table({"flat": 1})), ["NOT_DECIMAL $.tables[0].rules[0].flat", "EMPTY $.tables[0].rules[0]"]),
        (file(table({"rates": {"images": "-1"}})), ["NEGATIVE $.tables[0].rules[0].rates.images"]),
        (file(table({"rates": {"tokens": "1"}})), ["UNIT_UNKNOWN $.tables[0].rules[0].rates.tokens"]),
        (
            file(table({"rates": {"images": ["1", {"price": "2", "per": 0}]}})),
            [
                "FORMAT $.tables[0].rules[0].rates.images[1].per",
                "OVERLAP $.tables[0].rules[0].rates.images[1]",
            ],
        ),
        (
            file(table({"rates": {"images": {"price": "1", "above": {"x": "2", "5": "y"}}}})),
            [
                "FORMAT $.tables[0].rules[0].rates.images.above.x",
                "NOT_DECIMAL $.tables[0].rules[0].rates.images.above.5",
            ],
        ),
        (
            file(table({"rates": {"images": {"price": "1", "beyond": {"0": "2", "5": "-1"}}}})),
            [
                "FORMAT $.tables[0].rules[0].rates.images.beyond.0",
                "NEGATIVE $.tables[0].rules[0].rates.images.beyond.5",
            ],
        ),
        (
            file(table({"rates": {"images": {"price": "1", "above": {"9": "2"}, "beyond": {"5": "2"}}}})),
            ["TIERS $.tables[0].rules[0].rates.images.above.9"],
        ),
        (
            file(table({"rates": {"images": {"price": "1", "when": {"size": "s"}, "beyond": {"5": "2"}}}})),
            ["TIERS $.tables[0].rules[0].rates.images", "TIERS $.tables[0].rules[0].rates.images.beyond.5"],
        ),
        (
            file(table({"flat": "1", "free": {"images": 1}})),
            ["FREE_UNRATED $.tables[0].rules[0].free.images"],
        ),
        (file(table(HALF, {"feature": "x", "flat": "1"})), ["UNREACHABLE $.tables[0].rules[1]"]),
    ],
)
def test_every_flaw_of_a_file_has_its_path_and_nothing_is_written(
    desk: Desk, text: str, flaws: list[str]
) -> None:
    with pytest.raises(RulesInvalid) as raised:
        desk.tables.apply_file(ORG, text)

    assert [f"{flaw.kind} {flaw.place}" for flaw in raised.value.flaws] == flaws
    assert desk.database.read(lambda: desk.store.version(ORG)) == ""


def test_a_file_is_stored_and_activated_whole_and_a_repeat_changes_nothing(desk: Desk) -> None:
    text = file(table(HALF), table({"credits_per_dollar": "3000"}, customer="acme"))

    first = desk.tables.apply_file(ORG, text)

    assert [(one.changed, one.effective_time) for one in first] == [(True, START), (True, START + LEAD)]
    assert nanos(desk.rate(used())) == 1_000 * CREDIT
    assert nanos(desk.rate(used(), customer="acme", at=START + LEAD)) == 6_000 * CREDIT
    version = desk.database.read(lambda: desk.store.version(ORG))
    desk.now += SECOND
    again = desk.tables.apply_file(ORG, text)
    assert [(one.table, one.effective_time, one.changed) for one in again] == [
        (one.table, one.effective_time, False) for one in first
    ]
    assert desk.database.read(lambda: desk.store.version(ORG)) == version


def test_a_file_may_go_back_to_what_it_said_before(desk: Desk) -> None:
    other = file(table({"credits_per_dollar": "400"}))
    [first] = desk.tables.apply_file(ORG, file(table(HALF)))
    desk.now += SECOND
    desk.tables.apply_file(ORG, other)
    desk.now += SECOND

    [back] = desk.tables.apply_file(ORG, file(table(HALF)))

    assert (back.changed, back.effective_time) == (True, desk.now + LEAD)
    assert back.table == first.table
    assert nanos(desk.rate(used(), at=desk.now + LEAD)) == 1_000 * CREDIT


def test_a_dry_run_answers_the_same_and_writes_nothing(desk: Desk) -> None:
    text = file(table(HALF))

    [dry] = desk.tables.apply_file(ORG, text, dry_run=True)

    assert (dry.changed, dry.effective_time) == (True, START)
    assert desk.database.read(lambda: desk.store.version(ORG)) == ""
    assert nanos(desk.rate(used())) == 2_000 * CREDIT
    [done] = desk.tables.apply_file(ORG, text)
    assert (done.changed, done.effective_time) == (True, START)


def test_a_file_that_fails_half_way_leaves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    activate = desk.tables.activate
    calls = 0

    def failing(*arguments: object, **named: object) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("the power went")
        return activate(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(desk.tables, "activate", failing)
    with pytest.raises(RuntimeError):
        desk.tables.apply_file(ORG, file(table(HALF), table(HALF, customer="acme")))

    assert desk.database.read(lambda: desk.store.activations(ORG)) == []
    assert nanos(desk.rate(used())) == 2_000 * CREDIT
