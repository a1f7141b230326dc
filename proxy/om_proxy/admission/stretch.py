"""What pays for a stream without an output cap: slices, extended as the stream grows.

A token is at least one byte of what the caller sees, so bytes that are paid for are never too few. More is
asked for when half is used, behind the stream; it waits only where the other half is used as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from om_proxy.admission.ask import Ask, problem_of_error
from om_proxy.admission.lease_desk import LeaseDesk
from om_proxy.call.bound import SLICE_TOKENS, Bound, Ceiling
from om_proxy.funding.grant import Grant
from om_proxy.funding.purse import Part
from om_proxy.journal.journal import JournalBroken, JournalFull
from om_proxy.refusals import problem
from om_proxy.refusals.ending import credits_used_up
from om_proxy.refusals.refusal import Problem
from om_proxy.server.server_client import ServerAway, ServerRefused

_STEPS_PER_RATE = 1_000_000
#: The least that is asked for where a whole slice is not there.
_LAST_TOKENS = 256

Written = Callable[[], Awaitable[None]]


class Stretch:
    """The output that one call has paid for so far, in tokens."""

    def __init__(self, ask: Ask, grant: Grant, desk: LeaseDesk, *, most: int | None, lenient: bool) -> None:
        """`most`: the model's own maximum. `lenient`: goes on without money while the server is away."""
        self.tokens = SLICE_TOKENS
        self._ask = ask
        self._grant = grant
        self._desk = desk
        self._most = most
        self._lenient = lenient
        self._scarce = False
        units = ask.call.demand.output_units
        self._units = units
        self._rate = max(ask.card.rates.per_million.get(unit, 0) for unit in units)

    async def cover(self, used: int, written: Written) -> Problem | None:
        """Pay for so many tokens, which nobody has been shown yet; or say why that cannot be.

        `written` writes down that the grant has grown.
        """
        if 2 * used <= self.tokens or self._is_whole or not self._grant.parts or self._grant.unfunded:
            return None
        try:
            paid = await self._cover(used, written)
        except ServerAway:
            if not self._lenient:
                return problem.unavailable()
            self._grant.unfunded = paid = True
        except ServerRefused as refused:
            return problem_of_error(refused)
        except (JournalFull, JournalBroken):
            return problem.unavailable()
        return None if paid else credits_used_up()

    @property
    def _is_whole(self) -> bool:
        return self._most is not None and self.tokens >= self._most

    async def _cover(self, used: int, written: Written) -> bool:
        step, before = self._step(used), self._grant.parts
        if self._desk.extend(self._grant, self._nanos(step)):
            await self._grown(step, before, written)
            return True
        if used <= self.tokens:
            self._desk.ask_ahead(self._grant, self._asking(step))
            return True
        least = min(step, used - self.tokens)
        small = (min(step, max(least, _LAST_TOKENS)), least)
        for tokens in small if self._scarce else (step, *small):
            if await self._desk.stretch(self._grant, self._asking(tokens)):
                await self._grown(tokens, before, written)
                return True
            # Waiting for a whole slice again would only make the end slower.
            self._scarce = True
        return False

    async def _grown(self, tokens: int, before: tuple[Part, ...], written: Written) -> None:
        try:
            await written()
        except JournalFull:
            # A lease would count a call that no record names, and its count would differ after a crash.
            self._desk.unextend(self._grant, before)
            raise
        self.tokens += tokens

    def _step(self, used: int) -> int:
        """Say how many tokens are lacking until half of all is unused again, in whole slices."""
        step = -(-(2 * used - self.tokens) // SLICE_TOKENS) * SLICE_TOKENS
        step = max(step, SLICE_TOKENS)
        return step if self._most is None else min(step, self._most - self.tokens)

    def _nanos(self, tokens: int) -> int:
        return -(-tokens * self._rate // _STEPS_PER_RATE)

    def _asking(self, tokens: int) -> Ask:
        call = self._ask.call
        bound = Bound(call.provider, call.model, (Ceiling(tokens, self._units),))
        return replace(self._ask, bounds=(bound,), needed=self._nanos(tokens))
