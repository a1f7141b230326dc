"""What must be true of the server's tables, worked out from what was sent and read by plain SQL."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from om_server.core.event import SOURCE_API, Event, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.server.pipeline.harness import World

#: Nano-credits for a token in and out: dollars per million tokens, times 1,000 credits a dollar.
RATES: Mapping[str, tuple[int, int]] = {"gpt-4o": (2_500_000, 10_000_000), "gpt-4o-mini": (150_000, 600_000)}
UNPRICED = "nobody-knows-1"

_IMPOSSIBLE = ("lease_unknown", "lease_ended", "wallet_unknown")


class Violation(AssertionError):
    """Something that must never be so."""


def require(holds: object, what: str) -> None:
    """Raise what is wrong unless it holds."""
    if not holds:
        raise Violation(what)


def price(model: str, tokens_in: int, tokens_out: int) -> int:
    rate_in, rate_out = RATES[model]
    return rate_in * tokens_in + rate_out * tokens_out


class Version(NamedTuple):
    """What one report of an event must come to: "UNRATED" has no charge."""

    state: str
    charge: int | None
    #: More was consumed than its leases were to keep, by a fault of the provider.
    over: bool
    #: Who pays, where that was decided before the call; None where settlement decides.
    wallet_id: str | None = None


def version_of(event: Event) -> Version:
    if event.outcome is Outcome.ZERO:
        return Version("ZERO", 0, over=False)
    payer = None if event.edge is None else event.wallet_id
    if event.outcome is Outcome.DEFERRED or any(line.model == UNPRICED for line in event.lines):
        return Version("UNRATED", None, over=False, wallet_id=payer)
    total = 0
    for line in event.lines:
        amount = line.usage.amount
        total += price(line.model, amount("input_tokens") or 0, amount("output_tokens") or 0)
    return Version("RATED", total, over=total > sum(part.retained for part in event.funding), wallet_id=payer)


class Settled(NamedTuple):
    """A row of the server's."""

    source: str
    event_id: str
    state: str
    charge: int | None
    receivable: int
    wallet_id: str
    edge_id: str
    flags: str


@dataclass
class Oracle:
    """Remembers every report that reached the server, and every credit that was given."""

    world: World
    versions: dict[tuple[str, str, str], set[Version]] = field(default_factory=lambda: defaultdict(set))
    funded: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    #: What the owner charged out of suspense for leases.
    decided: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    #: Edges that lost a part of their journal: what they say twice may differ.
    doubted: set[str] = field(default_factory=set)
    #: Events that could not be settled for a while.
    poisoned: set[str] = field(default_factory=set)

    def reported(self, event: Event) -> None:
        self.versions[event.identity].add(version_of(event))

    def rows(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Read by plain SQL."""
        database = self.world.database
        return database.read(lambda: list(database.engine.execute_sql(sql, values).fetchall()))

    def number(self, sql: str, *values: object) -> int:
        """Read one sum, 0 if there is nothing to add."""
        [[total]] = self.rows(sql, *values)
        return int(str(total or 0))

    def settled(self, organization_id: str) -> list[Settled]:
        rows = self.rows(
            "SELECT source, event_id, state, charge, receivable, wallet_id, edge_id, flags "
            "FROM usage_events WHERE organization_id = ?",
            organization_id,
        )
        return [Settled(*row) for row in rows]  # type: ignore[arg-type] # A row of known columns.

    def check(self) -> None:
        """Hold every sum and every event of every organization against what is known."""
        for verified in self.world.wallet.verify_all():
            require(verified.finding is None, f"the ledger does not verify: {verified.finding}")
        self._held_is_explained()
        letters = {str(name) for (name,) in self.rows("SELECT event_id FROM dead_letters")}
        require(letters <= self.poisoned, f"events were set aside for nothing: {letters - self.poisoned}")
        for organization_id in list(self.funded):
            settled = self.settled(organization_id)
            for row in settled:
                self._event(organization_id, row)
            self._charged_once(organization_id, settled)
            self._nothing_made_or_lost(organization_id)

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
        versions = self.versions.get((organization_id, row.source, row.event_id))
        require(versions, f"{row.event_id} was settled and never reported")
        assert versions is not None
        found = [item for item in versions if (item.state, item.charge) == (row.state, row.charge)]
        require(found, f"{row.event_id} is {row.state} {row.charge}, and was reported as {versions}")
        payers = {item.wallet_id for item in found}
        require(
            payers & {None, row.wallet_id},
            f"{row.event_id} was paid by {row.wallet_id!r}, and its call was admitted on {payers}",
        )
        flag = next((name for name in _IMPOSSIBLE if name in row.flags), "")
        require(not flag, f"{row.event_id} is flagged {flag}")
        doubted = row.edge_id in self.doubted
        over = any(item.over for item in found)
        require(
            "over_bound" not in row.flags or over or doubted,
            f"{row.event_id} was over its bound, which its edge had kept",
        )
        overspent = (
            row.receivable
            and row.source != SOURCE_API
            and not over
            and not doubted
            and "lease_resolved" not in row.flags
        )
        require(not overspent, f"{row.event_id} overspent its wallet by {row.receivable}")

    def _charged_once(self, organization_id: str, settled: list[Settled]) -> None:
        """What the ledger earned by each event is the event's charge."""
        rows = self.rows(
            "SELECT event_source, event_id, SUM(amount) FROM entries WHERE organization_id = ? "
            "AND credit_account = 'revenue' AND event_id <> '' GROUP BY event_source, event_id",
            organization_id,
        )
        earned = {(source, event_id): amount for source, event_id, amount in rows}
        due = {
            (row.source, row.event_id): row.charge for row in settled if row.charge and row.wallet_id
        }  # fmt: skip
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
        funded = self.funded[organization_id]
        require(
            funded == posted + suspense + earned,
            f"of {funded} there are {posted} in wallets, {suspense} in suspense, {earned} earned or expired",
        )
        by_hand = self.number(
            "SELECT SUM(amount) FROM entries WHERE organization_id = ? "
            "AND credit_account = 'revenue' AND event_id = ''",
            organization_id,
        )
        require(by_hand == self.decided[organization_id], f"{by_hand} was earned by no event")

    def suspense(self, organization_id: str) -> int:
        return self.number(
            "SELECT SUM(s.held) FROM escrow_slices s JOIN escrows e ON e.organization_id = s.organization_id "
            "AND e.escrow_id = s.escrow_id WHERE e.suspended AND s.organization_id = ?",
            organization_id,
        )
