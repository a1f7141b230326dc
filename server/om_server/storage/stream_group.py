"""The commands of the queue in Redis: one stream, one consumer group, and what is postponed.

All workers share one consumer name. Claims go by idle time and not by name; names of processes would
pile up in the group, and deleting a consumer loses what it has pending. A postponed entry is
acknowledged but stays in the stream, and its id waits in a sorted set: left pending it would come back
when it has been idle long enough, whatever its time is, for Redis sets no idle time in the future.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, TypeVar, cast

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.errors import DependencyUnavailable, Overloaded
from om_server.storage.queue import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from redis.typing import EncodableT, FieldT

    Entry = tuple[str, Mapping[str, str] | None]

T = TypeVar("T")

_log = structlog.get_logger(__name__)

# One hash tag, so that a cluster keeps the keys of one transaction on one node.
STREAM = "om:{events}:stream"
POSTPONED = "om:{events}:postponed"
WAITING = "om:{events}:waiting:"
INCARNATION = "om:{events}:incarnation"
GROUP = "settlement"
_CONSUMER = "worker"

_CONNECT_TIMEOUT_S = 1.0
#: Longer than any read blocks.
_REPLY_TIMEOUT_S = 2.0
#: Longer than a settling transaction may take, so that only what was left behind is claimed.
ABANDONED_AFTER_US = 60 * MICROS_PER_SECOND
_CLAIM_COUNT = 10


def connect(url: str) -> redis.Redis:
    """Give a pool that connects when it is used. A slow Redis must not hold up the callers for long."""
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        protocol=2,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        socket_timeout=_REPLY_TIMEOUT_S,
        # Once more on a new connection, for those that a restart of Redis has cut; never after a timeout.
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )


class StreamGroup:
    """Batches to and from Redis. Any failure of Redis is `DependencyUnavailable`, and may be tried again."""

    def __init__(self, client: redis.Redis, *, abandoned_after_us: int = ABANDONED_AFTER_US) -> None:
        self._client = client
        self._idle_ms = abandoned_after_us // 1000
        self._scan_from = "0-0"

    def append(self, batches: Sequence[Batch], now: int) -> None:
        """Add an entry for each batch, and note it for its organization; `Overloaded` if Redis is full."""
        with _unavailable_as_domain_error(), self._client.pipeline(transaction=True) as pipeline:
            for batch in batches:
                pipeline.xadd(STREAM, _fields(batch, now))
                pipeline.zadd(WAITING + batch.organization_id, {batch.batch_id: now})
            try:
                # Raises the first error among the replies. What went well before it is not rolled back.
                pipeline.execute(raise_on_error=True)
            except redis.exceptions.OutOfMemoryError as error:
                raise Overloaded("the queue is full; retry later") from error

    def read(self, count: int, *, block_s: float | None = None) -> list[Batch]:
        """Take entries that nobody has had yet, and wait for the first so long if there is none."""
        block = None if block_s is None else max(1, round(block_s * 1000))
        with _unavailable_as_domain_error():
            reply = self._in_group(
                lambda: self._client.xreadgroup(GROUP, _CONSUMER, {STREAM: ">"}, count=count, block=block)
            )
            return _batches(cast("list[tuple[str, list[Entry]]]", reply)[0][1] if reply else [], {})

    def claim_due(self, now: int) -> list[Batch]:
        """Take postponed entries whose time has come."""
        found: list[Batch] = []
        with _unavailable_as_domain_error():
            members = self._client.zrangebyscore(POSTPONED, "-inf", now, start=0, num=_CLAIM_COUNT)
            for member in cast("list[str]", members):
                receipt, _, attempt_count = member.partition(" ")
                found += self._claim_postponed(receipt, int(attempt_count))
                self._client.zrem(POSTPONED, member)
        return found

    def claim_abandoned(self) -> list[Batch]:
        """Take entries that somebody has had for too long, ourselves too, from where the last scan ended."""
        with _unavailable_as_domain_error():
            reply = self._in_group(
                lambda: self._client.xautoclaim(
                    STREAM, GROUP, _CONSUMER, self._idle_ms, self._scan_from, count=_CLAIM_COUNT
                )
            )
            self._scan_from, entries = reply[0], cast("list[Entry]", reply[1])
            if not entries:
                return []
            _log.warning("batches_claimed_again", batches=len(entries))
            return _batches(entries, self._attempts(entries))

    def acknowledge(self, batches: Sequence[Batch]) -> None:
        """Delete the entries for good."""
        receipts = [batch.receipt for batch in batches]
        with _unavailable_as_domain_error(), self._client.pipeline(transaction=True) as pipeline:
            pipeline.xdel(STREAM, *receipts)
            pipeline.xack(STREAM, GROUP, *receipts)
            for batch in batches:
                pipeline.zrem(WAITING + batch.organization_id, batch.batch_id)
            deleted = pipeline.execute(raise_on_error=True)[0]
        if deleted < len(batches):
            _log.info("batches_were_gone", batches=len(batches) - deleted)

    def set_aside(self, batch: Batch, retry_time: int) -> None:
        """Leave the entry in the stream, to be claimed by nobody before its time."""
        with _unavailable_as_domain_error(), self._client.pipeline(transaction=True) as pipeline:
            pipeline.zadd(POSTPONED, {f"{batch.receipt} {batch.attempt_count + 1}": retry_time})
            pipeline.xack(STREAM, GROUP, batch.receipt)
            pipeline.execute(raise_on_error=True)

    def waiting(self, organization_id: str) -> tuple[int, int | None]:
        """How many batches are not acknowledged, and the time of the oldest."""
        with _unavailable_as_domain_error(), self._client.pipeline(transaction=True) as pipeline:
            pipeline.zcard(WAITING + organization_id)
            pipeline.zrange(WAITING + organization_id, 0, 0, withscores=True)
            count, oldest = pipeline.execute(raise_on_error=True)
        return count, int(oldest[0][1]) if oldest else None

    def backlog(self) -> tuple[int, int | None]:
        """How many entries are not acknowledged, and the time of the oldest."""
        with _unavailable_as_domain_error(), self._client.pipeline(transaction=False) as pipeline:
            pipeline.xlen(STREAM)
            pipeline.xrange(STREAM, count=1)
            count, oldest = pipeline.execute(raise_on_error=True)
        return count, int(oldest[0][1]["create_time"]) if oldest else None

    def incarnation(self) -> str:
        """Name this life of what Redis holds: another one after a loss, a restart or a change of servers.

        A restart may bring back an older state, with the value that is kept in it; the server's own
        run id tells.
        """
        with _unavailable_as_domain_error():
            kept = cast("str | None", self._client.get(INCARNATION))
            if kept is None:
                self._client.set(INCARNATION, secrets.token_hex(8), nx=True)
                # Another process may have been quicker.
                kept = cast("str | None", self._client.get(INCARNATION))
            server = cast("Mapping[str, str]", self._client.info("server"))
        # A service that stands in for Redis may have no run id.
        return f"{kept}.{server.get('run_id', '')}"

    def _claim_postponed(self, receipt: str, attempt_count: int) -> list[Batch]:
        # FORCE makes the entry pending again. Whom another worker was quicker than gets nothing.
        entries = self._in_group(
            lambda: self._client.xclaim(
                STREAM,
                GROUP,
                _CONSUMER,
                self._idle_ms,
                [receipt],
                retrycount=attempt_count + 1,
                force=True,
            )
        )
        return _batches(cast("list[Entry]", entries), {receipt: attempt_count})

    def _attempts(self, entries: Sequence[Entry]) -> dict[str, int]:
        """Deliveries of each entry before this one, as the group has counted them."""
        with self._client.pipeline(transaction=False) as pipeline:
            for receipt, _ in entries:
                pipeline.xpending_range(STREAM, GROUP, receipt, receipt, 1)
            replies = pipeline.execute(raise_on_error=True)
        return {row["message_id"]: row["times_delivered"] - 1 for reply in replies for row in reply}

    def _in_group(self, command: Callable[[], T]) -> T:
        """Run a command of the group; make the group first where Redis is new or has lost it."""
        try:
            return command()
        except redis.ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
        _log.warning("queue_group_made")
        with contextlib.suppress(redis.ResponseError):  # Another worker was quicker.
            # From 0: entries that were appended before are for the group too.
            self._client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
            # Without its group the stream was new or gone, perhaps alone: what was in it is sent again.
            self._client.delete(INCARNATION)
        return command()


@contextlib.contextmanager
def _unavailable_as_domain_error() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        _log.warning("queue_unavailable", cause=type(error).__name__)
        raise DependencyUnavailable("the queue is not available; retry") from error


def _fields(batch: Batch, now: int) -> dict[FieldT, EncodableT]:
    return {
        "organization_id": batch.organization_id,
        "batch_id": batch.batch_id,
        "envelope": batch.envelope,
        "event_count": batch.event_count,
        "create_time": now,
    }


def _batches(entries: Iterable[Entry], attempts: Mapping[str, int]) -> list[Batch]:
    found = []
    for receipt, fields in entries:
        try:
            found.append(_batch_of(receipt, fields or {}, attempts.get(receipt, 0)))
        except (KeyError, ValueError):
            # It stays pending: a newer program may read it.
            _log.error("entry_unreadable", entry=receipt)
    return found


def _batch_of(receipt: str, fields: Mapping[str, str], attempt_count: int) -> Batch:
    return Batch(
        organization_id=fields["organization_id"],
        batch_id=fields["batch_id"],
        envelope=fields["envelope"],
        event_count=int(fields["event_count"]),
        attempt_count=attempt_count,
        create_time=int(fields["create_time"]),
        receipt=receipt,
    )
