"""Replays dead letters through settlement, or discards them with what is held for them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import structlog

from om_server.core.audit import AuditEntry
from om_server.core.errors import Code, DomainError
from om_server.core.event import SOURCE_PROXY
from om_server.ingestion import envelope
from om_server.ingestion.operations import checked
from om_server.ingestion.standing import LetterResult, LetterState
from om_server.pipeline.dead_letter import LetterCounter, TwinSettled
from om_server.pipeline.isolation import is_transient, isolate
from om_server.wallet.holds.suspense import Decision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from om_server.core.event import Event
    from om_server.ingestion.store import DeadLetter, IngestionStore
    from om_server.pipeline.settle import Settler
    from om_server.storage.audit import AuditTrail
    from om_server.storage.database import Database
    from om_server.wallet.limits.operations import LimitOperations
    from om_server.wallet.operations import WalletOperations

    _Read = tuple[DeadLetter, Event]

_log = structlog.get_logger(__name__)

#: Letters in one call, and in one transaction of it.
LETTERS_MAX = 1000
_BATCH = 100


class LetterUnreadable(DomainError):
    """There is no event in the letter, so nothing could be settled; that can only be discarded."""

    code = Code.FAILED_PRECONDITION
    reason = "LETTER_UNREADABLE"

    def __init__(self, letter: DeadLetter) -> None:
        cause = (
            f"it could never be read ({letter.reason}: {letter.message})"
            if envelope.is_unread(letter.envelope)
            else "it was written by a newer version of the server, or is damaged"
        )
        super().__init__(f"{letter.event_id} is no event: {cause}", dead_letter_id=letter.dead_letter_id)


class LetterReplay:
    """Letters settle in transactions of many, and are discarded one by one."""

    def __init__(  # noqa: PLR0913 - what the composition root joins
        self,
        database: Database,
        ingestion: IngestionStore,
        settler: Settler,
        *,
        wallet: WalletOperations,
        limits: LimitOperations,
        trail: AuditTrail,
    ) -> None:
        self._database = database
        self._ingestion = ingestion
        self._settler = settler
        self._wallet = wallet
        self._limits = limits
        self._trail = trail
        self._counter = LetterCounter(database, ingestion, wallet)

    def replay(self, organization_id: str, letter_ids: Sequence[str], *, actor: str) -> list[LetterResult]:
        """Settle letters, all if none is named, from what was set aside for them; answer for each.

        One that fails again stays, with one attempt more. A transient error is raised, counts as no
        attempt, and leaves what was settled before it settled.
        """
        letters = self._letters(organization_id, letter_ids)
        results: dict[str, LetterResult] = {}
        ready: list[_Read] = []

        def failed(letter: DeadLetter, error: Exception) -> None:
            results[letter.dead_letter_id] = self._failed(letter, error)

        for letter in letters:
            try:
                ready.append((letter, _event_of(letter)))
            except DomainError as error:
                failed(letter, error)

        def attempt(part: Sequence[_Read]) -> None:
            done = self._database.write(lambda: self._settle(organization_id, part, actor=actor))
            results.update((one.dead_letter_id, one) for one in done)

        batches = [ready[start : start + _BATCH] for start in range(0, len(ready), _BATCH)]
        isolate(batches, attempt, failed=lambda one, error: failed(one[0], error))
        return _in_order(letter_ids, letters, results)

    def discard(self, organization_id: str, letter_ids: Sequence[str], *, actor: str) -> list[LetterResult]:
        """Drop letters, all if none is named, and free what is held for their events; answer for each."""
        letters = self._letters(organization_id, letter_ids)
        results: dict[str, LetterResult] = {}
        for letter in letters:
            try:
                results[letter.dead_letter_id] = self._discard(letter, actor=actor)
            except Exception as error:
                if is_transient(error):
                    raise
                results[letter.dead_letter_id] = self._failed(letter, error)
        return _in_order(letter_ids, letters, results)

    def _letters(self, organization_id: str, letter_ids: Sequence[str]) -> list[DeadLetter]:
        return self._database.read(
            lambda: self._ingestion.dead_letters(organization_id, letter_ids, limit=LETTERS_MAX)
        )

    def _settle(self, organization_id: str, part: Sequence[_Read], *, actor: str) -> list[LetterResult]:
        """Settle the letters that nobody took meanwhile, and delete them with it."""
        ids = [letter.dead_letter_id for letter, _ in part]
        current = self._ingestion.lock_dead_letters(organization_id, ids)
        events = [event for letter, event in part if letter.dead_letter_id in current]
        self._settler.settle(events)
        self._free_dropped(organization_id, events, actor=actor)
        self._ingestion.delete_dead_letters(organization_id, current)
        for letter in current.values():
            self._note("dead_letter_replayed", letter, actor, state=LetterState.SETTLED)
        return [
            _result(
                letter, LetterState.SETTLED if letter.dead_letter_id in current else LetterState.NOT_FOUND
            )
            for letter, _ in part
        ]

    def _free_dropped(self, organization_id: str, events: Sequence[Event], *, actor: str) -> None:
        """Free the money of events that settlement drops, since their idempotency key is another event's."""
        identities = [(event.source, event.event_id) for event in events]
        settled = self._ingestion.payload_hashes(organization_id, identities)
        for identity in identities:
            if identity not in settled:
                self._release(organization_id, identity, Decision(actor, "another event has its key"))

    def _discard(self, letter: DeadLetter, *, actor: str) -> LetterResult:
        """Discard a letter; if a twin of its event is settled, what is held is the twin's."""
        try:
            return self._database.write(lambda: self._free(letter, actor=actor))
        except TwinSettled:
            return self._database.write(lambda: self._drop(letter, actor=actor))

    def _free(self, letter: DeadLetter, *, actor: str) -> LetterResult:
        organization_id, identity = letter.organization_id, (letter.source, letter.event_id)
        current = self._ingestion.lock_dead_letters(organization_id, [letter.dead_letter_id])
        if not current:
            return _result(letter, LetterState.NOT_FOUND)
        if letter.source == SOURCE_PROXY and not current[letter.dead_letter_id].counted:
            # Its lease waits for it, and it may hold money there.
            self._counter.move(letter)
        self._release(organization_id, identity, Decision(actor, f"discarded {letter.dead_letter_id}"))
        # Behind the locks on the wallets, as when it was counted.
        if self._ingestion.payload_hashes(organization_id, [identity]):
            raise TwinSettled
        return self._delete(letter, actor=actor)

    def _drop(self, letter: DeadLetter, *, actor: str) -> LetterResult:
        if not self._ingestion.lock_dead_letters(letter.organization_id, [letter.dead_letter_id]):
            return _result(letter, LetterState.NOT_FOUND)
        if letter.source == SOURCE_PROXY:
            self._counter.mark_counted(letter)
        return self._delete(letter, actor=actor)

    def _delete(self, letter: DeadLetter, *, actor: str) -> LetterResult:
        self._ingestion.delete_dead_letters(letter.organization_id, [letter.dead_letter_id])
        self._note("dead_letter_discarded", letter, actor, state=LetterState.DISCARDED)
        return _result(letter, LetterState.DISCARDED)

    def _release(self, organization_id: str, event: tuple[str, str], decision: Decision) -> None:
        self._wallet.discard_event(organization_id, event, decision=decision)
        self._limits.release_events(organization_id, [event])

    def _note(self, what: str, letter: DeadLetter, actor: str, *, state: LetterState) -> None:
        """Log and record what became of a letter, within the transaction that removes it."""
        _log.info(
            what,
            organization_id=letter.organization_id,
            dead_letter_id=letter.dead_letter_id,
            source=letter.source,
            event_id=letter.event_id,
            actor=actor,
        )
        entry = AuditEntry(
            "ReplayDeadLetters",
            "dead_letter",
            letter.dead_letter_id,
            before={"source": letter.source, "event_id": letter.event_id, "reason": letter.reason},
            after={"state": state.name},
        )
        self._trail.record(letter.organization_id, entry)

    def _failed(self, letter: DeadLetter, error: Exception) -> LetterResult:
        if isinstance(error, envelope.EnvelopeUnreadable):
            error = LetterUnreadable(letter)
        # The text of an unexpected error may hold anything, so only its kind is kept.
        known = error if isinstance(error, DomainError) else None
        reason, message = (known.reason, known.message) if known else ("INTERNAL", type(error).__name__)
        # What made it a letter stays with one that will never be read.
        kept = (letter.reason, letter.message) if isinstance(error, LetterUnreadable) else (reason, message)
        self._database.write(lambda: self._ingestion.note_attempt(letter, reason=kept[0], message=kept[1]))
        _log.warning("dead_letter_failed_again", event_id=letter.event_id, cause=type(error).__name__)
        return _result(letter, LetterState.FAILED, reason=reason, message=message)


def _event_of(letter: DeadLetter) -> Event:
    """Read the event, and check it if intake did not take it; the rule that it still breaks is raised."""
    events = envelope.unpack(letter.envelope)
    if len(events) != 1:
        raise envelope.EnvelopeUnreadable
    [event] = events
    if event.payload_hash:
        return event
    digest = envelope.payload_hash(event, time_supplied=True)
    return dataclasses.replace(checked(event, from_edge=event.edge is not None), payload_hash=digest)


def _in_order(
    letter_ids: Sequence[str], letters: Sequence[DeadLetter], results: dict[str, LetterResult]
) -> list[LetterResult]:
    """Answer for each letter that was asked for, once."""
    asked = dict.fromkeys(letter_ids or (letter.dead_letter_id for letter in letters))
    return [results.get(one) or LetterResult(one, "", LetterState.NOT_FOUND) for one in asked]


def _result(letter: DeadLetter, state: LetterState, *, reason: str = "", message: str = "") -> LetterResult:
    return LetterResult(letter.dead_letter_id, letter.event_id, state, reason, message)
