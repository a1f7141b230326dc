"""Limits on what may be used. Pure: what is used and reserved comes from the caller.

A limit counts what its selector matches, in one unit, over a window. There is no counter to reset:
used is a sum over the window, and only what admitted calls may still use is kept beside it.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace

from om_server.core.errors import Code, DomainError, InvalidArgument
from om_server.core.money import AMOUNT_MAX, AmountOutOfRange
from om_server.core.usage import find_unit
from om_server.wallet.limits.window import Window

#: Units beside those of usage. Credits and cost are in nano-units, events by piece.
CREDITS, COST, EVENTS = "credits", "cost", "events"
MONEY_UNITS = frozenset({CREDITS, COST})


class LimitMode(enum.StrEnum):
    """What happens where a limit is reached: HARD refuses, SOFT says so, NONE only reports."""

    HARD = "hard"
    SOFT = "soft"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Subject:
    """Of what consumption is part, as its event will say. The team is the key's."""

    feature_id: str = ""
    user_id: str = ""
    customer_id: str = ""
    team_id: str = ""
    key_id: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selector:
    """What a limit counts: all that is named must match, and an empty id is any."""

    feature_id: str = ""
    user_id: str = ""
    customer_id: str = ""
    team_id: str = ""
    key_id: str = ""
    tag: str = ""
    #: Every user alone instead of all together; what names no user is then nobody's.
    each_user: bool = False

    def __post_init__(self) -> None:
        if self.each_user and self.user_id:
            raise InvalidArgument("each_user", "the limit names one user")

    def matches(self, subject: Subject) -> bool:
        """Tell whether consumption counts."""
        named = ("feature_id", "user_id", "customer_id", "team_id", "key_id")
        same = all(getattr(self, name) in ("", getattr(subject, name)) for name in named)
        return same and self.tag in ("", *subject.tags) and bool(subject.user_id or not self.each_user)

    @property
    def scope(self) -> tuple[str, str]:
        """Return a kind and an id, empty for any, that whatever matches has: what an edge looks for.

        An edge that finds it asks once too often at worst.
        """
        named = (
            ("user", self.user_id),
            ("feature", self.feature_id),
            ("tag", self.tag),
            ("customer", self.customer_id),
            ("key", self.key_id),
            ("team", self.team_id),
        )
        found = next(((kind, name) for kind, name in named if name), None)
        return found or (("user", "") if self.each_user else ("organization", ""))


@dataclass(frozen=True, slots=True)
class Terms:
    """How much is allowed over which time. No amount is no number, which is not zero: 0 allows nothing."""

    mode: LimitMode = LimitMode.HARD
    amount: int | None = None
    window: Window = Window()  # noqa: RUF009 - a frozen value

    def __post_init__(self) -> None:
        if self.amount is not None and not 0 <= self.amount <= AMOUNT_MAX:
            raise AmountOutOfRange(str(self.amount))

    @property
    def refuses(self) -> bool:
        """Whether a call may ever be refused for it."""
        return self.mode is LimitMode.HARD and self.amount is not None

    def relaxes(self, other: "Terms") -> bool:
        """Whether whatever the other allows is allowed here too."""
        if not (self.refuses and other.refuses):
            return not self.refuses
        return self.window == other.window and (self.amount or 0) >= (other.amount or 0)


@dataclass(frozen=True, slots=True)
class Revision:
    """Terms, and from when they hold."""

    effective_time: int
    terms: Terms


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit with the terms that hold and those that will, oldest first. Its metadata is JSON text."""

    limit_id: str
    selector: Selector
    unit: str
    revisions: tuple[Revision, ...]
    create_time: int
    metadata: str = "{}"

    @property
    def latest(self) -> Revision:
        """What was written last."""
        return self.revisions[-1]

    def terms(self, now: int) -> Terms | None:
        """Return the terms that hold; None while the first ones do not yet."""
        held = [revision.terms for revision in self.revisions if revision.effective_time <= now]
        return held[-1] if held else None

    def reserves(self, now: int) -> bool:
        """Whether calls set aside what they may use: also for terms that will hold before they end."""
        return any(revision.terms.refuses for revision in self._living(now))

    def revised(self, terms: Terms, *, now: int, notice: int) -> "Limit":
        """Return the limit under new terms.

        Terms that refuse more hold after the notice, by when every edge has learned of them; what was
        written shortly before keeps its own time.
        """
        living = self._living(now)
        if terms == living[-1].terms:
            return replace(self, revisions=living)
        if all(terms.relaxes(revision.terms) for revision in living):
            return replace(self, revisions=(Revision(max(now, living[0].effective_time), terms),))
        return replace(self, revisions=(*living, Revision(now + notice, terms)))

    def _living(self, now: int) -> tuple[Revision, ...]:
        past = [revision for revision in self.revisions if revision.effective_time <= now]
        return (*past[-1:], *(revision for revision in self.revisions if revision.effective_time > now))


@dataclass(frozen=True, slots=True)
class Demand:
    """What a call may use of a limit at most, in its unit; None asks only whether anything is left."""

    limit: Limit
    amount: int | None
    #: Whose consumption counts, where every user is counted alone.
    user_id: str = ""

    @property
    def counter(self) -> tuple[str, str]:
        """Name the row that reservations are kept in."""
        return self.limit.limit_id, self.user_id


@dataclass(frozen=True, slots=True)
class Standing:
    """What a demand meets: terms, and what of their amount is used and reserved."""

    demand: Demand
    terms: Terms
    used: int
    reserved: int
    window_end: int | None

    @property
    def remaining(self) -> int | None:
        """What is left; None where there is no number. Below zero where more was used than is allowed."""
        return None if self.terms.amount is None else self.terms.amount - self.used - self.reserved

    @property
    def reached(self) -> bool:
        """Whether the demand would pass the limit. Using exactly what is allowed does not.

        The one place where a limit is compared.
        """
        if self.remaining is None:
            return False
        if self.demand.amount is None:
            return self.remaining <= 0
        return 0 < self.demand.amount > self.remaining


class LimitReached(DomainError):
    """A hard limit would be passed."""

    code = Code.FAILED_PRECONDITION
    reason = "LIMIT_REACHED"

    def __init__(self, standing: Standing) -> None:
        limit, remaining = standing.demand.limit, max(standing.remaining or 0, 0)
        needed = standing.demand.amount
        super().__init__(
            f"the limit {limit.limit_id} ({standing.terms.window.name}, {limit.unit}) has {remaining} left",
            limit_id=limit.limit_id,
            window=standing.terms.window.name,
            unit=limit.unit,
            needed="" if needed is None else str(needed),
            available=str(remaining),
            used=str(standing.used),
            reserved=str(standing.reserved),
            window_end="" if standing.window_end is None else str(standing.window_end),
        )
        self.standing = standing


def new_limit(  # noqa: PLR0913 - the parts of a limit
    limit_id: str, selector: Selector, unit: str, *, terms: Terms, now: int, notice: int, metadata: str = "{}"
) -> Limit:
    """Return a limit that holds from now on, or after the notice if it may refuse."""
    if unit not in (CREDITS, COST, EVENTS):
        find_unit(unit)
    effective_time = now + notice if terms.refuses else now
    return Limit(limit_id, selector, unit, (Revision(effective_time, terms),), now, metadata)


def refusing(standings: Sequence[Standing]) -> Standing | None:
    """Return the standing that refuses; of several, the one that will refuse longest."""
    reached = [one for one in standings if one.terms.refuses and one.reached]
    return max(reached, key=_until, default=None)


def warnings(standings: Sequence[Standing]) -> tuple[Standing, ...]:
    """Return the soft limits that are passed, those that will be longest first."""
    reached = [one for one in standings if one.terms.mode is LimitMode.SOFT and one.reached]
    return tuple(sorted(reached, key=_until, reverse=True))


def _until(standing: Standing) -> tuple[bool, int]:
    return standing.window_end is None, standing.window_end or 0
