"""Translations between the messages of RatingService and the values of rating."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from om.rating.v1 import rating_service_pb2 as pb
from om.type.v1 import money_pb2, unrated_reason_pb2
from om_server.core.errors import DomainError
from om_server.core.money import NANO, USD, round_half_even
from om_server.rating.burn_rules import (
    RateDraft,
    RuleDraft,
    compile_rates,
    compile_rules,
    find_price_flaws,
)
from om_server.rating.flaw import Flaw, FlawKind, RulesInvalid
from om_server.rating.price import STANDARD, Price
from om_server.rating.stored import BurnTableDraft
from om_server.rating.unit_rate import PER_MILLION
from om_server.rpc import convert

if TYPE_CHECKING:
    from collections.abc import Iterable

    from om.type.v1 import event_pb2
    from om_server.core.event import UsageLine
    from om_server.core.money import Money
    from om_server.rating.arithmetic import Component
    from om_server.rating.burn_table import BurnRule
    from om_server.rating.burn_table_operations import BurnTableState
    from om_server.rating.rate import RatedLine, Rating, Unrated
    from om_server.rating.unit_rate import Rate

#: Decimals of the arithmetic that is shown; those of a rate's own text are at most as many.
_DECIMALS = 18


def rating_to_proto(rating: Rating) -> pb.Rating:
    """Write a rating; an amount that is not known is absent."""
    causes = [_cause_to_proto(cause) for cause in rating.unrated]
    return pb.Rating(
        cost=money_to_proto(rating.cost),
        charge=money_to_proto(rating.charge),
        lines=[_line_to_proto(line) for line in rating.lines],
        burn_table_version=rating.burn_table_version,
        unrated_reason=causes[0].reason if causes else unrated_reason_pb2.UNRATED_REASON_UNSPECIFIED,
        unrated=causes,
    )


def lines_from_proto(messages: Iterable[event_pb2.UsageLine]) -> list[UsageLine]:
    """Read the lines of a usage; an error names the line."""
    lines = []
    for index, message in enumerate(messages):
        try:
            lines.append(convert.usage_line_from_proto(message))
        except DomainError as error:
            raise convert.located(error, f"lines[{index}]") from None
    return lines


def _line_to_proto(line: RatedLine) -> pb.RatedLine:
    return pb.RatedLine(
        provider=line.provider,
        model=line.model,
        tier=line.tier,
        price_version=line.price_version,
        context_threshold=line.context_threshold,
        components=[_component_to_proto(component) for component in line.components],
        cost=money_to_proto(line.cost),
        charge=money_to_proto(line.charge),
        credits_per_cost=line.credits_per_cost,
        fee=_decimal(line.fee / NANO),
    )


def _component_to_proto(component: Component) -> pb.RatedComponent:
    rate = component.rate
    return pb.RatedComponent(
        unit=component.unit,
        amount=component.amount,
        rate_per_million=_decimal(rate.exact * PER_MILLION / NANO),
        exact_amount=_decimal(component.exact / NANO),
        currency_code=component.currency,
        rate=rate.price,
        rate_steps=rate.per,
        rate_unit=rate.unit if rate.unit != component.unit else "",
        attributes=dict(rate.attributes),
        free_amount=component.free,
        quantity_threshold=rate.quantity_threshold,
    )


def _cause_to_proto(cause: Unrated) -> pb.UnratedCause:
    return pb.UnratedCause(
        reason=unrated_reason_pb2.UnratedReason.Value(f"UNRATED_REASON_{cause.reason}"),
        line_index=cause.line,
        unit=cause.unit,
        prevents_cost=cause.cost,
        prevents_charge=cause.charge,
    )


def _decimal(amount: Fraction) -> str:
    """Write a non-negative amount as plain decimal text: no exponent, no trailing zeros."""
    scaled = round_half_even(amount.numerator * 10**_DECIMALS, amount.denominator)
    whole, decimals = divmod(scaled, 10**_DECIMALS)
    return f"{whole}.{decimals:0{_DECIMALS}d}".rstrip("0").rstrip(".")


def price_from_proto(message: pb.Price) -> Price:
    """Read a price that is to be stored; PRICE_INVALID names its first flaw."""
    drafts = _rates_from_proto(message.rates)
    begins, ends = message.HasField("effective_time"), message.HasField("expire_time")
    begin = convert.timestamp_from_proto(message.effective_time, "price.effective_time") if begins else None
    end = convert.timestamp_from_proto(message.expire_time, "price.expire_time") if ends else None
    flaws = list(find_price_flaws(drafts, place="price"))
    if not drafts:
        flaws.append(Flaw(FlawKind.EMPTY, "price.rates", "a price has at least one rate"))
    if begin is not None and end is not None and end <= begin:
        flaws.append(Flaw(FlawKind.OUT_OF_RANGE, "price.expire_time", "it ends before it begins, or at once"))
    if flaws:
        raise RulesInvalid(flaws)
    return Price(
        version="price",
        provider=message.provider,
        model=message.model,
        rates=compile_rates(drafts),
        tier=message.tier or STANDARD,
        currency=message.currency_code or USD,
        effective_from=begin,
        effective_to=end,
    )


def price_to_proto(price: Price) -> pb.Price:
    """Write a price with the units whose rates it lists itself."""
    return pb.Price(
        price_id=price.version,
        provider=price.provider,
        model=price.model,
        tier=price.tier,
        currency_code=price.currency,
        effective_time=convert.optional_timestamp_to_proto(price.effective_from),
        expire_time=convert.optional_timestamp_to_proto(price.effective_to),
        rates=[_rate_to_proto(rate) for rate in price.rates],
    )


def burn_table_from_proto(message: pb.BurnTable) -> BurnTableDraft:
    """Read a burn table that is to be stored or tried; PRICE_INVALID names its first flaw."""
    drafts = [_rule_from_proto(rule) for rule in message.rules]
    rules = compile_rules(drafts, place="burn_table.rules")
    return BurnTableDraft(message.display_name, rules, message.customer_id)


def burn_table_to_proto(state: BurnTableState) -> pb.BurnTable:
    """Write a burn table, without the default rule that follows its last."""
    table = state.table
    return pb.BurnTable(
        burn_table_id=table.burn_table_id,
        display_name=table.display_name,
        customer_id=table.customer_id,
        rules=[_rule_to_proto(rule) for rule in table.rules],
        active=state.active,
        effective_time=convert.optional_timestamp_to_proto(state.effective_time),
        create_time=convert.optional_timestamp_to_proto(table.create_time),
        expire_time=convert.optional_timestamp_to_proto(state.expire_time),
    )


def money_to_proto(amount: Money | None) -> money_pb2.Money | None:
    """Write an amount; one that is not known is absent."""
    return None if amount is None else convert.money_to_proto(amount)


def _rule_from_proto(message: pb.BurnRule) -> RuleDraft:
    cached = message.cached_answer_nanos if message.HasField("cached_answer_nanos") else None
    return RuleDraft(
        feature_id=message.feature_id,
        provider=message.provider,
        model_pattern=message.model_pattern,
        credits_per_cost=message.credits_per_cost,
        rates=_rates_from_proto(message.rates),
        flat_nanos=message.flat_nanos,
        minimum_nanos=message.minimum_nanos,
        free_units=tuple(sorted(message.free_units.items())),
        cached_answer_nanos=cached,
    )


def _rule_to_proto(rule: BurnRule) -> pb.BurnRule:
    return pb.BurnRule(
        feature_id=rule.feature_id,
        provider=rule.provider,
        model_pattern=rule.model_pattern,
        credits_per_cost=rule.credits_per_cost,
        rates=[_rate_to_proto(rate) for rate in rule.rates],
        flat_nanos=rule.flat_nanos,
        minimum_nanos=rule.minimum_nanos,
        free_units=dict(rule.free_units),
        cached_answer_nanos=rule.cached_answer_nanos,
    )


def _rates_from_proto(messages: Iterable[pb.PriceRate]) -> tuple[RateDraft, ...]:
    return tuple(
        RateDraft(
            unit=message.unit,
            price=message.amount_per_million,
            attributes=tuple(sorted(message.attributes.items())),
            context_threshold=message.context_threshold,
            quantity_threshold=message.quantity_threshold,
        )
        for message in messages
    )


def _rate_to_proto(rate: Rate) -> pb.PriceRate:
    return pb.PriceRate(
        unit=rate.unit,
        amount_per_million=_decimal(rate.exact * PER_MILLION / NANO),
        attributes=dict(rate.attributes),
        context_threshold=rate.context_threshold,
        quantity_threshold=rate.quantity_threshold,
    )
