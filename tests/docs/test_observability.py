"""The page on metrics and traces says what the code says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from om.type.v1 import event_pb2, usage_pb2
from om_proxy.counts import Counts
from om_proxy.funding.drawers import LeaseTotals
from om_proxy.metrics import ProxyMetrics, Standing
from om_server.analytics.settled import SettledEvent, SettledLine, SettledState
from om_server.core.event import Attribution, Event, EventType, UsageLine
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.metrics.rest import RestMetrics
from om_server.metrics.rpc import RpcMetrics
from om_server.metrics.settlement import SettlementMetrics
from om_server.metrics.store import StoreMetrics
from om_server.pipeline.store_figures import StoreFigures
from tests.docs.snippets import ROOT
from tests.docs.tables import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.registry import Collector

_PAGE = "docs/observability.md"


def _proxy() -> ProxyMetrics:
    counts = Counts()
    counts.answered("p", "r", status=200, seconds=1)
    counts.upstream("p", status=500, seconds=1)
    counts.refused("c")
    usage = usage_pb2.Usage(quantities=[usage_pb2.Quantity(unit="u", amount=1)])
    counts.concluded(event_pb2.UsageEvent(lines=[event_pb2.UsageLine(provider="p", usage=usage)]))
    leases = LeaseTotals(0, 0, 0)
    return ProxyMetrics(counts, Standing(bool, int, leases=lambda: leases, unsettled=int))


def _rpc() -> RpcMetrics:
    metrics = RpcMetrics()
    metrics.answered("r", "c", reason="x", seconds=1)
    metrics.streaming("r", 1)
    return metrics


def _rest() -> RestMetrics:
    metrics = RestMetrics()
    metrics.answered("o", 200, seconds=1)
    return metrics


def _settlement() -> SettlementMetrics:
    line = UsageLine("p", "m", Usage((Quantity("input_tokens", 1, Certainty.MEASURED),)))
    event = Event("org", "api", "e", EventType.TOKEN_USAGE, 0, 0, Attribution(), (line,))
    metrics = SettlementMetrics(())
    metrics.note([SettledEvent(event, SettledState.RATED, 1, 1, (SettledLine(line, 1, 1),), 0)])
    return metrics


def _stores() -> StoreMetrics:
    return StoreMetrics(lambda: StoreFigures(0, 0, 0, 0, 0), connections=int, seconds=float)


def _told_by(of: str, collector: Collector) -> Iterator[tuple[str, str, frozenset[str], str]]:
    for family in collector.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert family.documentation
        yield name, family.type, frozenset(labels), of


def test_every_metric_is_there_with_its_type_its_labels_and_its_process() -> None:
    told = {
        (name, kind, frozenset(labels.split()), of)
        for name, kind, labels, of, _ in rows(_PAGE, "metric", "type", "labels", "of", "meaning")
    }

    made = {
        "proxy": _proxy(),
        "rpc": _rpc(),
        "rest": _rest(),
        "worker, rpc": _settlement(),
    }
    known = {row for of, collector in made.items() for row in _told_by(of, collector)}
    assert told == known | set(_told_by("rpc", _stores()))


def test_every_metric_has_a_meaning() -> None:
    assert all(row[4] for row in rows(_PAGE, "metric", "type", "labels", "of", "meaning"))


def test_every_attribute_of_a_span_is_named() -> None:
    sources = [ROOT / "proxy/om_proxy", ROOT / "server/om_server"]
    text = "".join(path.read_text("utf-8") for folder in sources for path in folder.rglob("*.py"))
    named = r'"(om\.(?:\w+_id|provider|state|refusal)|http\.(?:route|response\.status_code))"'
    attributes = set(re.findall(named, text))

    page = (ROOT / _PAGE).read_text(encoding="utf-8")
    assert attributes
    assert {name for name in attributes if f"`{name}`" not in page} == set()
