"""Prices, burn tables and explanations over a real socket."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from om.rating.v1 import rating_service_pb2 as pb
from om.rating.v1 import rating_service_pb2_grpc
from om.type.v1 import event_pb2, money_pb2, usage_pb2
from om_server.core.money import CREDITS, USD, Money
from om_server.rating.explanation import Explanations, SettledCharge
from om_server.rating.servicer import RatingServicer
from om_server.rpc.caller import Scope
from tests.rpc import Keyring, bearer, failing, key_caller, made, serving
from tests.server.rating.desk import CREDIT, LEAD, ORG, SECOND, START, Desk, used

ADMIN, OTHER, READER = bearer("admin"), bearer("other"), bearer("reader")


@dataclass
class Wire:
    """A stub and what stands behind it."""

    stub: rating_service_pb2_grpc.RatingServiceStub
    desk: Desk
    charges: dict[tuple[str, str, str], SettledCharge] = field(default_factory=dict)


@pytest.fixture
def wire(desk: Desk) -> Iterator[Wire]:
    keyring = Keyring(
        {
            "admin": key_caller(organization_id=ORG),
            "other": key_caller(organization_id="org_b"),
            "reader": key_caller(Scope.READ, organization_id=ORG),
        }
    )
    charges: dict[tuple[str, str, str], SettledCharge] = {}

    def find(organization_id: str, *, source: str, event_id: str) -> SettledCharge | None:
        return charges.get((organization_id, source, event_id))

    explanations = Explanations(desk.tariffs, desk.tables, charges=find)
    servicer = made(
        RatingServicer,
        desk.rating,
        burn_tables=desk.tables,
        prices=desk.prices,
        explanations=explanations,
        past=None,
    )
    with serving([servicer], keyring) as channel:
        yield Wire(rating_service_pb2_grpc.RatingServiceStub(channel), desk, charges)


def at(micros: int) -> Timestamp:
    return Timestamp(seconds=micros // SECOND, nanos=micros % SECOND * 1000)


def credit(nanos: int) -> money_pb2.Money:
    return money_pb2.Money(currency_code=CREDITS, amount_nanos=nanos)


def charge(
    wire: Wire, *, customer: str = "", metadata: tuple[tuple[str, str], ...] = ADMIN
) -> money_pb2.Money:
    """What a million input tokens are charged now."""
    quantity = usage_pb2.Quantity(unit="input_tokens", amount=10**6, certainty=usage_pb2.CERTAINTY_MEASURED)
    line = event_pb2.UsageLine(provider="openai", model="m", usage=usage_pb2.Usage(quantities=[quantity]))
    request = pb.RateUsageRequest(lines=[line], attribution=event_pb2.Attribution(customer_id=customer))
    return wire.stub.RateUsage(request, metadata=metadata).rating.charge


def create(wire: Wire, *rules: pb.BurnRule, customer: str = "", key: str = "k") -> pb.BurnTable:
    table = pb.BurnTable(display_name="Autumn", customer_id=customer, rules=rules)
    request = pb.CreateBurnTableRequest(burn_table=table, idempotency_key=key)
    return wire.stub.CreateBurnTable(request, metadata=ADMIN).burn_table


FULL = pb.BurnRule(
    feature_id="chat",
    provider="openai",
    model_pattern="gpt-*",
    credits_per_cost="1200.5",
    rates=[
        pb.PriceRate(unit="images", amount_per_million="0.5", attributes={"size": "xl"}),
        pb.PriceRate(unit="input_tokens", amount_per_million="1"),
        pb.PriceRate(unit="input_tokens", amount_per_million="2", context_threshold=1000),
        pb.PriceRate(unit="characters", amount_per_million="2"),
        pb.PriceRate(unit="characters", amount_per_million="1", quantity_threshold=5),
    ],
    flat_nanos=1,
    minimum_nanos=2,
    free_units={"images": 3},
    cached_answer_nanos=0,
)


def test_a_table_is_created_shown_listed_and_activated(wire: Wire) -> None:
    made_table = create(wire, FULL, pb.BurnRule(credits_per_cost="500"))
    table_id = made_table.burn_table_id

    assert list(made_table.rules) == [FULL, pb.BurnRule(credits_per_cost="500")]
    assert (made_table.active, made_table.HasField("effective_time")) == (False, False)
    assert made_table.create_time == at(START)
    shown = wire.stub.GetBurnTable(pb.GetBurnTableRequest(burn_table_id=table_id), metadata=READER)
    assert shown.burn_table == made_table
    activated = wire.stub.ActivateBurnTable(
        pb.ActivateBurnTableRequest(burn_table_id=table_id, effective_time=at(START)), metadata=ADMIN
    ).burn_table
    # The first rule has fees that nobody paid before: a raise.
    assert (activated.active, activated.effective_time) == (False, at(START + LEAD))
    listed = wire.stub.ListBurnTables(pb.ListBurnTablesRequest(), metadata=READER)
    assert (list(listed.burn_tables), listed.next_page_token) == ([activated], "")
    wire.desk.now = START + LEAD
    assert charge(wire) == credit(1_000 * CREDIT)


def test_a_customers_preview_has_the_customers_table(wire: Wire) -> None:
    table = create(wire, pb.BurnRule(credits_per_cost="500"), customer="acme")
    wire.stub.ActivateBurnTable(
        pb.ActivateBurnTableRequest(burn_table_id=table.burn_table_id), metadata=ADMIN
    )

    assert charge(wire, customer="acme") == credit(1_000 * CREDIT)
    assert charge(wire) == charge(wire, customer="acme", metadata=OTHER) == credit(2_000 * CREDIT)


def test_the_built_in_table_is_named_default(wire: Wire) -> None:
    found = wire.stub.GetBurnTable(pb.GetBurnTableRequest(burn_table_id="default"), metadata=READER)

    assert (found.burn_table.burn_table_id, found.burn_table.active) == ("default", True)


@pytest.mark.parametrize("rpc", ["GetBurnTable", "ActivateBurnTable"])
def test_another_organizations_table_is_not_found(wire: Wire, rpc: str) -> None:
    table = create(wire, pb.BurnRule(flat_nanos=1))
    request = getattr(pb, f"{rpc}Request")(burn_table_id=table.burn_table_id)

    with failing() as failures:
        getattr(wire.stub, rpc)(request, metadata=OTHER)

    assert (failures[0].code, failures[0].reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        (pb.BurnRule(), "burn_table.rules[1]"),
        (
            pb.BurnRule(rates=[pb.PriceRate(unit="tokens", amount_per_million="1")]),
            "burn_table.rules[1].rates[0]",
        ),
        (
            pb.BurnRule(rates=[pb.PriceRate(unit="images", amount_per_million="1", context_threshold=5)]),
            "burn_table.rules[1].rates",
        ),
        (pb.BurnRule(flat_nanos=1, free_units={"images": 1}), "burn_table.rules[1].free.images"),
    ],
)
def test_a_flaw_is_named_by_its_place_and_nothing_is_stored(
    wire: Wire, rule: pb.BurnRule, place: str
) -> None:
    with failing() as failures:
        create(wire, pb.BurnRule(feature_id="x", flat_nanos=1), rule)

    assert (failures[0].code, failures[0].reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PRICE_INVALID")
    assert list(failures[0].violations) == [place]
    assert not wire.stub.ListBurnTables(pb.ListBurnTablesRequest(), metadata=READER).burn_tables


def test_reading_is_not_enough_to_change_a_tariff(wire: Wire) -> None:
    with failing() as failures:
        wire.stub.ActivateBurnTable(pb.ActivateBurnTableRequest(burn_table_id="default"), metadata=READER)

    assert failures[0].reason == "SCOPE_MISSING"


def price(**changes: object) -> pb.CreatePriceRequest:
    fields: dict[str, object] = {
        "provider": "OPENAI",
        "model": "nickname",
        "rates": [pb.PriceRate(unit="input_tokens", amount_per_million="5")],
        **changes,
    }
    return pb.CreatePriceRequest(price=pb.Price(**fields), idempotency_key="k")  # type: ignore[arg-type]


def test_a_price_is_created_and_the_answer_says_from_when_it_applies(wire: Wire) -> None:
    stored = wire.stub.CreatePrice(price(), metadata=ADMIN).price

    assert (stored.provider, stored.model, stored.tier, stored.currency_code) == (
        "openai",
        "m",
        "standard",
        "USD",
    )
    assert (stored.effective_time, stored.HasField("expire_time")) == (at(START + LEAD), False)
    assert charge(wire) == credit(2_000 * CREDIT)
    wire.desk.now = START + LEAD
    assert charge(wire) == credit(5_000 * CREDIT)
    request = pb.ListPricesRequest(provider="openai", at_time=at(wire.desk.now))
    listed = wire.stub.ListPrices(request, metadata=READER).prices
    assert [found.price_id for found in listed] == ["list/m/batch", f"{stored.price_id}+list/m"]
    assert [(rate.unit, rate.amount_per_million) for rate in listed[1].rates] == [
        ("input_tokens", "5"),
        ("output_tokens", "10"),
    ]


@pytest.mark.parametrize(
    ("changes", "reason", "place"),
    [
        ({"rates": [pb.PriceRate(unit="tokens", amount_per_million="1")]}, "PRICE_INVALID", "price.rates[0]"),
        (
            {"rates": [pb.PriceRate(unit="images", amount_per_million="-1")]},
            "INVALID_ARGUMENT",
            "price.rates[0].amount_per_million",
        ),
        ({"rates": []}, "PRICE_INVALID", "price.rates"),
        (
            {
                "rates": [
                    pb.PriceRate(unit="images", amount_per_million="2"),
                    pb.PriceRate(unit="images", amount_per_million="1", quantity_threshold=5),
                ]
            },
            "PRICE_INVALID",
            "price.rates[1]",
        ),
        ({"effective_time": at(START), "expire_time": at(START)}, "PRICE_INVALID", "price.expire_time"),
        ({"expire_time": at(START + LEAD)}, "PRICE_INVALID", "price.expire_time"),
        ({"effective_time": Timestamp(seconds=2**60)}, "INVALID_ARGUMENT", "price.effective_time"),
    ],
)
def test_a_bad_price_is_refused_by_its_place(
    wire: Wire, changes: dict[str, object], reason: str, *, place: str
) -> None:
    with failing() as failures:
        wire.stub.CreatePrice(price(**changes), metadata=ADMIN)

    assert (failures[0].code, failures[0].reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert list(failures[0].violations) == [place]


def test_a_price_in_another_currency_is_refused(wire: Wire) -> None:
    with failing() as failures:
        wire.stub.CreatePrice(price(currency_code="EUR"), metadata=ADMIN)

    assert (failures[0].reason, failures[0].metadata) == (
        "CURRENCY_MISMATCH",
        {"currency": "EUR", "other_currency": "USD"},
    )


def test_a_charge_is_explained_with_what_was_settled(wire: Wire) -> None:
    wire.charges[ORG, "proxy", "evt"] = SettledCharge(
        source="proxy",
        event_id="evt",
        event_time=START,
        customer_id="",
        feature_id="",
        lines=(used(),),
        cost=Money(USD, 2 * 10**9),
        charge=Money(CREDITS, 2_000 * CREDIT),
        burn_table_version="default",
        price_versions=("list/m",),
    )

    explained = wire.stub.ExplainCharge(
        pb.ExplainChargeRequest(event_id="evt", source="proxy"), metadata=READER
    )

    assert (explained.exact, explained.at_time) == (True, at(START))
    assert explained.settled_charge == explained.rating.charge == credit(2_000 * CREDIT)
    assert explained.settled_cost == explained.rating.cost
    for request, who in (
        (pb.ExplainChargeRequest(event_id="evt"), READER),
        (pb.ExplainChargeRequest(event_id="evt", source="proxy"), OTHER),
    ):
        with failing() as failures:
            wire.stub.ExplainCharge(request, metadata=who)
        assert failures[0].reason == "NOT_FOUND"
