"""What runs beside the calls of an edge, put together: the same for one that takes no calls any more."""

from __future__ import annotations

from dataclasses import dataclass

from om_proxy.edge.life import EdgeLife
from om_proxy.edge.report import Reporter
from om_proxy.edge.watch import Hearer, JournalNews, Watch
from om_proxy.journal.journal import Journal
from om_proxy.server.incarnation import Incarnation
from om_proxy.server.server_client import ServerClient


@dataclass(frozen=True, slots=True)
class EdgeParts:
    """One edge before the server."""

    server: ServerClient
    journal: Journal
    reporter: Reporter
    incarnation: Incarnation
    life: EdgeLife

    def watch(self, *hearers: Hearer) -> Watch:
        """Make the stream of what the server tells; the journal hears it behind the others."""
        news = JournalNews(self.journal.settle, on_queue_changed=self.reporter.again)
        heard_by = (*hearers, news.hear)
        return Watch(self.server, self.journal.edge, incarnation=self.incarnation, hearers=heard_by)


def edge_parts(server: ServerClient, journal: Journal) -> EdgeParts:
    """Make them. The life hears of another store before whoever is made later."""
    reporter, incarnation = Reporter(server, journal), Incarnation()
    life = EdgeLife(server, journal, reporter, incarnation=incarnation)
    return EdgeParts(server, journal, reporter, incarnation, life)
