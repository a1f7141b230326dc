"""What must be true of the server's tables, worked out from what was sent and read by plain SQL."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from om_server.core.event import SOURCE_API, Event, Outcome
from tests.simulation.facts import Facts, Identity, Report, ended_job, report_of

if TYPE_CHECKING:
    from collections import Counter

    from tests.server.pipeline.harness import World

#: Flags that only a restored store explains.
_IMPOSSIBLE = ("lease_unknown", "lease_ended", "wallet_unknown")


class Violation(AssertionError):
    """Something that must never be so."""


def require(holds: object, what: str) -> None:
    """Raise what is wrong unless it holds."""
    if not holds:
        raise Violation(what)


class Settled(NamedTuple):
    """A row of the server's."""

    source: str
    event_id: str
    state: str
    charge: int | None
    receivable: int
    wallet_id: str
    edge_id: str
    user_id: str
    settle_time: int
    flags: str
    funding: str


_SETTLED = f"SELECT {', '.join(Settled._fields)} FROM usage_events WHERE organization_id = ?"  # noqa: S608 - our own text


@dataclass
class Oracle:
    """Remembers every report that reached the server, and holds the server's rows against them."""

    world: World
    meetings: Counter[str]
    facts: Facts = field(default_factory=Facts)
    reports: dict[Identity, list[Report]] = field(default_factory=lambda: defaultdict(list))
    #: The reports of the ends of jobs, by organization and job.
    ends: dict[tuple[str, str], list[Report]] = field(default_factory=lambda: defaultdict(list))
    #: Edges that lost a part of their journal: what they say twice may differ.
    doubted: set[str] = field(default_factory=set)
    #: Edges whose clock is wrong: a price of another time may rate their events.
    skewed: set[str] = field(default_factory=set)
    #: Events that consumed more than their bound, or what no card had a price for.
    excessive: set[str] = field(default_factory=set)
    #: Events that could not be settled for a while.
    poisoned: set[str] = field(default_factory=set)
    #: Events that an older copy of the store does not know, and that perhaps nobody sends again.
    gap: set[Identity] = field(default_factory=set)
    restored: bool = False
    #: Organizations of which an older copy of the store does not know what they wrote last of their tariff:
    #: what was cheaper is dearer again, for calls that were made meanwhile.
    repriced: set[str] = field(default_factory=set)

    def reported(self, event: Event) -> None:
        report, known = report_of(event, self.world.clock.now), self.reports[event.identity]
        if report not in known:
            known.append(report)
        job = ended_job(event)
        if job is not None:
            self.ends[job].append(report)

    def rows(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Read by plain SQL."""
        database = self.world.database
        if database.supports_row_locks:
            sql = sql.replace("?", "%s")
        return database.read(lambda: list(database.engine.execute_sql(sql, values).fetchall()))

    def number(self, sql: str, *values: object) -> int:
        """Read one sum, 0 if there is nothing to add."""
        [[total]] = self.rows(sql, *values)
        return int(str(total or 0))

    def settled(self, organization_id: str) -> list[Settled]:
        rows = self.rows(_SETTLED, organization_id)
        return [Settled(*row) for row in rows]  # type: ignore[arg-type] # A row of known columns.

    def check(self) -> None:
        """Hold every sum and every event of every organization against what is known."""
        for verified in self.world.wallet.verify_all():
            require(verified.finding is None, f"the ledger does not verify: {verified.finding}")
        self._held_is_explained()
        letters = {str(name) for (name,) in self.rows("SELECT event_id FROM dead_letters")}
        require(letters <= self.poisoned, f"events were set aside for nothing: {letters - self.poisoned}")
        for organization_id in list(self.facts.funded):
            settled = self.settled(organization_id)
            for row in settled:
                self._event(organization_id, row)
            self._charged_once(organization_id, settled)
            self._nothing_made_or_lost(organization_id)
            self._rolled_up(organization_id, settled)

    def _held_is_explained(self) -> None:
        parts = (
            "SELECT wallet_id, held FROM lease_slices UNION ALL SELECT wallet_id, held FROM hold_slices "
            "UNION ALL SELECT s.wallet_id, s.held FROM escrow_slices s JOIN escrows e "
            "ON e.organization_id = s.organization_id AND e.escrow_id = s.escrow_id WHERE NOT e.suspended"
        )
        wrong = self.rows(
            "SELECT w.wallet_id, w.held, w.available FROM wallets w WHERE w.held <> "  # noqa: S608 - our own text
            f"COALESCE((SELECT SUM(p.held) FROM ({parts}) p WHERE p.wallet_id = w.wallet_id), 0) "
            "OR w.available < CASE w.mode WHEN 'soft' THEN -w.credit_limit ELSE 0 END OR w.held < 0"
        )
        require(not wrong, f"held or available of wallets is not explained: {wrong}")

    def _event(self, organization_id: str, row: Settled) -> None:
        identity = (organization_id, row.source, row.event_id)
        reports = self.reports.get(identity)
        require(reports, f"{row.event_id} was settled and never reported")
        assert reports is not None
        found = [report for report in reports if self._fits(organization_id, row, report)]
        require(found, f"{row.event_id} is {row.state} {row.charge}, and was reported as {reports}")
        # What costs nothing is paid by nobody, also where its call was admitted.
        payers = {None if row.state == "ZERO" else report.wallet_id for report in found}
        require(
            payers & {None, row.wallet_id},
            f"{row.event_id} was paid by {row.wallet_id!r}, and its call was admitted on {payers}",
        )
        flag = next((name for name in _IMPOSSIBLE if name in row.flags), "")
        require(not flag or self.restored, f"{row.event_id} is flagged {flag}")
        self.meetings["lease of a lost time settled"] += flag == "lease_unknown"
        if row.source == SOURCE_API or not row.wallet_id or "job_alone" in row.flags:
            # Nobody set anything aside for it.
            return
        over = all((row.charge or 0) > report.retained for report in found)
        settled = identity in self.facts.discarded or identity in self.facts.ruled
        decided = settled or organization_id in self.repriced
        excused = self._excused(row) or decided
        require(excused or not over, f"{row.event_id} cost {row.charge}, and its card was for less: {found}")
        require(excused or "over_bound" not in row.flags, f"{row.event_id} was over what its edge had kept")
        overspent = row.receivable and not excused and "lease_resolved" not in row.flags and not flag
        require(not overspent, f"{row.event_id} overspent its wallet by {row.receivable}")

    def _excused(self, row: Settled) -> bool:
        """Whether somebody else is to blame for an excess: a provider, a power cut, a wrong clock."""
        return row.event_id in self.excessive or row.edge_id in self.doubted or row.edge_id in self.skewed

    def _fits(self, organization_id: str, row: Settled, report: Report) -> bool:
        if report.outcome is Outcome.ZERO:
            return (row.state, row.charge) == ("ZERO", 0)
        if report.outcome is Outcome.DEFERRED:
            return self._fits_job(organization_id, row, report)
        tariff = self.facts.tariffs[organization_id]
        due = tariff.charges(report.lines, at=report.time, known_by=row.settle_time)
        return row.state == ("UNRATED" if row.charge is None else "RATED") and row.charge in due

    def _fits_job(self, organization_id: str, row: Settled, report: Report) -> bool:
        """Charged with what its job used, at its own time; or not yet, or not any more."""
        if "job_repeated" in row.flags:
            return (row.state, row.charge) == ("ZERO", 0)
        ends = [end._replace(time=report.time) for end in self.ends.get((organization_id, report.job_id), ())]
        waits = (row.state, row.charge) == ("UNRATED", None)
        return waits or any(self._fits(organization_id, row, end) for end in ends)

    def _charged_once(self, organization_id: str, settled: list[Settled]) -> None:
        """What the ledger earned by each event is the event's charge."""
        rows = self.rows(
            "SELECT event_source, event_id, SUM(amount) FROM entries WHERE organization_id = ? "
            "AND credit_account = 'revenue' AND event_id <> '' GROUP BY event_source, event_id",
            organization_id,
        )
        earned = {(source, event_id): amount for source, event_id, amount in rows}
        due = {
            (row.source, row.event_id): row.charge
            for row in settled
            if row.charge and row.wallet_id and "wallet_unknown" not in row.flags
        }
        for (organization, *event), amount in self.facts.ruled.items():
            if organization == organization_id and amount:
                # A late end takes what its owner had left of it, and then only what is missing.
                source, event_id = event
                due[source, event_id] = max(due.get((source, event_id)) or 0, amount)
        require(earned == due, f"earned and charged differ: {dict(earned.items() ^ due.items())}")

    def _nothing_made_or_lost(self, organization_id: str) -> None:
        posted = self.number(
            "SELECT SUM(available + held - receivable) FROM wallets WHERE organization_id = ?",
            organization_id,
        )
        suspense = self.suspense(organization_id)
        earned = self.number(
            "SELECT SUM(amount) FROM entries WHERE organization_id = ? "
            "AND credit_account IN ('revenue', 'breakage')",
            organization_id,
        )
        facts = self.facts
        funded = facts.funded[organization_id]
        back = sum(amount for identity, amount in facts.refunded.items() if identity[0] == organization_id)
        require(
            funded + back == posted + suspense + earned,
            f"of {funded} and {back} given back there are {posted} in wallets, {suspense} in suspense, "
            f"{earned} earned or expired",
        )
        by_hand = self.number(
            "SELECT SUM(amount) FROM entries WHERE organization_id = ? "
            "AND credit_account = 'revenue' AND event_id = ''",
            organization_id,
        )
        require(by_hand == facts.decided[organization_id], f"{by_hand} was earned by no event")

    def _rolled_up(self, organization_id: str, settled: list[Settled]) -> None:
        """Sums are those of the events, at any moment."""
        due = sum(row.charge or 0 for row in settled), len(settled)
        found = self.rows(
            "SELECT COALESCE(SUM(charge), 0), COALESCE(SUM(event_count), 0) FROM rollups "
            "WHERE organization_id = ?",
            organization_id,
        )
        require([tuple(map(int, map(str, row))) for row in found] == [due], f"rolled up {found} of {due}")

    def suspense(self, organization_id: str) -> int:
        return self.number(
            "SELECT SUM(s.held) FROM escrow_slices s JOIN escrows e ON e.organization_id = s.organization_id "
            "AND e.escrow_id = s.escrow_id WHERE e.suspended AND s.organization_id = ?",
            organization_id,
        )
