"""The meaning of a usage query, spelled out over events, to hold rollups against."""

from collections import Counter
from dataclasses import dataclass

from om_server.analytics.query import Dimension, EventFilter, UsageReport
from om_server.analytics.settled import SettledEvent, SettledState
from om_server.core.hours import HOUR
from tests.server.analytics.examples import ORG


@dataclass(frozen=True, slots=True)
class Question:
    """What the property asks, in the words of the contract."""

    group_by: tuple[Dimension, ...]
    by_hour: bool
    wanted: EventFilter


def sums_over_events(events: list[SettledEvent], question: Question) -> Counter[tuple[object, ...]]:
    """The plain meaning of a query: a loop over events and their lines, with no rollup in it."""
    sums: Counter[tuple[object, ...]] = Counter()
    for item in events:
        event, attribution, wanted = item.event, item.event.attribution, question.wanted
        version = attribution.prompt_version
        if event.organization_id != ORG or (event.sandbox and not wanted.include_sandbox):
            continue
        if wanted.tags and not set(wanted.tags) & set(attribution.tags):
            continue
        if wanted.customer_ids and attribution.customer_id not in wanted.customer_ids:
            continue
        for position, part in enumerate(item.lines or (None,)):
            model = part.line.model if part else ""
            if wanted.models and model not in wanted.models:
                continue
            values = {
                Dimension.TEAM: attribution.team_id,
                Dimension.CUSTOMER: attribution.customer_id,
                Dimension.PROMPT_VERSION: "" if version is None else str(version),
                Dimension.EVENT_TYPE: event.event_type.value,
                Dimension.PROVIDER: part.line.provider.lower() if part else "",
                Dimension.MODEL: model,
            }
            groups = [tuple(values[name] for name in question.group_by if name is not Dimension.TAG)]
            if question.group_by == (Dimension.TAG,):
                groups = [(tag,) for tag in attribution.tags if not wanted.tags or tag in wanted.tags]
            rated = item.state is not SettledState.UNRATED
            money = part or item
            for group in groups:
                where = (event.event_time // HOUR * HOUR if question.by_hour else None, group)
                sums[*where, "events"] += position == 0
                sums[*where, "unrated"] += position == 0 and not rated
                sums[*where, "cost"] += (money.cost or 0) if rated else 0
                sums[*where, "charge"] += (money.charge or 0) if rated else 0
                for quantity in part.line.usage.quantities if part else ():
                    sums[*where, quantity.unit] += quantity.amount or 0
    return sums


def reported_sums(report: UsageReport) -> Counter[tuple[object, ...]]:
    sums: Counter[tuple[object, ...]] = Counter()
    for row in report.rows:
        where = (row.period_start, tuple(part.value for part in row.group))
        sums[*where, "events"] = row.counters.event_count
        sums[*where, "unrated"] = row.counters.unrated_count
        sums[*where, "cost"] = row.counters.cost
        sums[*where, "charge"] = row.counters.charge
        sums.update({(*where, unit): total.amount for unit, total in row.quantities.items()})
    return sums
