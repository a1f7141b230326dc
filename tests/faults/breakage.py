"""Defects that a crash test must notice, one for each rule that the product keeps. For tests of the tests."""

from __future__ import annotations

import fcntl
import threading
from typing import TYPE_CHECKING, Any

import peewee

from om_server.ingestion import envelope, operations
from om_server.ingestion.operations import IngestionOperations
from om_server.ingestion.store import IngestionStore
from om_server.pipeline import worker
from om_server.pipeline.settle import Settler
from om_server.pipeline.settled_ranges import acknowledge
from om_server.pipeline.worker import Worker
from om_server.storage.redis_stream import RedisStream
from om_server.storage.stream_group import StreamGroup
from tests.faults.failpoint import put

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _acknowledge_first() -> None:
    """Redis is told before the transaction that settles."""
    claim = RedisStream._claim

    def claim_and_acknowledge(stream: RedisStream, event_count_max: int) -> Any:
        batches = claim(stream, event_count_max)
        if batches:
            stream._group.acknowledge(batches)
        return batches

    put(RedisStream, "_claim", claim_and_acknowledge)


def _answer_first() -> None:
    """An event is accepted before it is durable: the second half of each batch never is."""
    enqueue = IngestionOperations._enqueue

    def enqueue_half(operations: IngestionOperations, organization_id: str, events: list[Any]) -> str:
        return enqueue(operations, organization_id, events[: (len(events) + 1) // 2])

    put(IngestionOperations, "_enqueue", enqueue_half)


def _no_identities() -> None:
    """Every event is new, whatever was settled before."""

    def claim(store: IngestionStore, events: Any) -> set[tuple[str, str, str]]:
        del store
        return {event.identity for event in events}

    put(IngestionStore, "claim_identities", claim)


def _never_claimed() -> None:
    """What a dead worker had stays its own."""
    put(StreamGroup, "claim_abandoned", lambda group: [])


def _claimed_and_forgotten() -> None:
    """What a dead worker had is claimed, and acknowledged without being processed."""
    original = StreamGroup.claim_abandoned

    def claim(group: StreamGroup) -> Any:
        batches = original(group)
        if batches:
            group.acknowledge(batches)
        return []

    put(StreamGroup, "claim_abandoned", claim)


def _autocommit() -> None:
    """The statements of a transaction commit one by one."""
    put(peewee.Database, "begin", lambda *_, **__: None)
    put(peewee.SqliteDatabase, "begin", lambda *_, **__: None)
    put(peewee.Database, "commit", lambda *_: None)
    put(peewee.Database, "rollback", lambda *_: None)


def _no_incarnation() -> None:
    """A queue that was lost looks like the one before."""
    put(StreamGroup, "incarnation", lambda group: "always the same")


def _one_kept_value() -> None:
    """A restart of Redis with what it had kept looks like no restart."""
    put(StreamGroup, "incarnation", lambda group: group._client.get("om:{events}:incarnation") or "first")


def _not_renewed() -> None:
    """A restored database looks like the one before."""
    from om_server.cli import command  # noqa: PLC0415 - imports much that the others do without

    put(command, "renew_incarnation", lambda *_, **__: None)


def _letters_lost() -> None:
    """A letter is thrown away where one should be kept."""
    put(IngestionStore, "add_dead_letter", lambda store, letter: None)


def _drops_unreadable() -> None:
    """What a worker cannot read it calls settled."""

    def read_or_drop(worker: Worker, batch: Any) -> Any:
        try:
            return envelope.unpack(batch.envelope)
        except envelope.EnvelopeUnreadable:
            return []

    put(Worker, "_read", read_or_drop)


def _never_passes() -> None:
    """A database that takes nothing in counts against the events that it does not take."""
    put(worker, "is_transient", lambda error: False)


def _told_before_settled() -> None:
    """Edges are told of what nobody has settled yet."""
    settle = Settler._settle

    def tell_and_settle(settler: Settler, events: Any) -> int:
        threading.Thread(
            target=lambda: settler._database.write(lambda: acknowledge(settler._log, events))
        ).start()
        return settle(settler, events)

    put(Settler, "_settle", tell_and_settle)


def _any_time() -> None:
    """An event was when it says, whatever that is."""
    put(operations, "believe_time", lambda event: event)


def _any_owner() -> None:
    """Nobody is kept from a SQLite file."""
    put(fcntl, "flock", lambda *_: None)


def _keeps_entries() -> None:
    """What is acknowledged stays in the stream for ever."""

    def acknowledge(group: StreamGroup, batches: Any) -> None:
        group._client.xack("om:{events}:stream", "settlement", *[batch.receipt for batch in batches])

    put(StreamGroup, "acknowledge", acknowledge)


BREAKAGES: Mapping[str, Callable[[], None]] = {
    "acknowledge first": _acknowledge_first,
    "answer first": _answer_first,
    "no identities": _no_identities,
    "never claimed": _never_claimed,
    "claimed and forgotten": _claimed_and_forgotten,
    "autocommit": _autocommit,
    "no incarnation": _no_incarnation,
    "one kept value": _one_kept_value,
    "not renewed": _not_renewed,
    "letters lost": _letters_lost,
    "drops unreadable": _drops_unreadable,
    "never passes": _never_passes,
    "told before settled": _told_before_settled,
    "any time": _any_time,
    "any owner": _any_owner,
    "keeps entries": _keeps_entries,
}
