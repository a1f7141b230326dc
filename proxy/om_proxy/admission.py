"""Admits calls one by one, and gives back what was admitted for a call that is never made."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import structlog

from om_proxy import outcome, problem
from om_proxy.authorize import Admission, Authorizer, Key, Question
from om_proxy.call import Call
from om_proxy.dialects.openmonetize import Attribution
from om_proxy.outcome import Intent
from om_proxy.refusal import Problem
from om_proxy.report import Reporter
from om_proxy.server_client import ServerAway

_log = structlog.get_logger(__name__)

#: Admissions without an answer that are asked about again; what is beyond is left to the server's owner.
_UNANSWERED_MAX = 1_000
_RETRY_DELAY_S = 0.2
_RETRY_DELAY_MAX_S = 5.0


class Admissions:
    """Every intent that it gives ends in exactly one outcome: the forwarder's, or a zero of its own."""

    def __init__(
        self, authorizer: Authorizer, reporter: Reporter, *, retry_delay_s: float = _RETRY_DELAY_S
    ) -> None:
        self._authorizer = authorizer
        self._reporter = reporter
        self._retry_delay_s = retry_delay_s
        self._unanswered: set[asyncio.Task[None]] = set()

    async def admit(self, event_id: str, key: Key, *, call: Call, who: Attribution) -> Intent | Problem:
        """Ask whether the call may be made; the simulator's always may."""
        if self._reporter.full:
            return problem.unavailable()
        if who.sandbox or key.test_mode:
            return Intent(event_id, key, who, call, Admission())
        question = await self._authorizer.question(event_id, key, call=call, who=who)
        if isinstance(question, Problem):
            return question
        try:
            answer = await self._authorizer.admit(question)
        except ServerAway:
            self._ask_again(question, Intent(event_id, key, who, call, Admission()))
            return problem.unavailable()
        except asyncio.CancelledError:
            # The caller left while the server decided.
            self._ask_again(question, Intent(event_id, key, who, call, Admission()))
            raise
        return answer if isinstance(answer, Problem) else Intent(event_id, key, who, call, answer)

    async def close(self) -> None:
        """Give up what is still unanswered."""
        if self._unanswered:
            _log.error("admissions_unanswered", count=len(self._unanswered))
        for task in self._unanswered:
            task.cancel()
        await asyncio.gather(*self._unanswered, return_exceptions=True)

    def _ask_again(self, question: Question, intent: Intent) -> None:
        if len(self._unanswered) >= _UNANSWERED_MAX:
            _log.error("admission_unanswered", event_id=intent.event_id)
            return
        task = asyncio.create_task(self._give_back(question, intent))
        self._unanswered.add(task)
        task.add_done_callback(self._unanswered.discard)

    async def _give_back(self, question: Question, intent: Intent) -> None:
        """Ask until the server answers: money may be set aside, and the same key finds it again."""
        delay_s = self._retry_delay_s
        while True:
            try:
                answer = await self._authorizer.admit(question)
            except ServerAway:
                await asyncio.sleep(random.uniform(0, delay_s))  # noqa: S311 - spreads load, hides nothing
                delay_s = min(delay_s * 2, _RETRY_DELAY_MAX_S)
                continue
            if isinstance(answer, Admission):
                self._reporter.report(outcome.zero(replace(intent, admission=answer)))
            return
