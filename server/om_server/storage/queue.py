"""The durable queue between intake and settlement: what both of its kinds promise.

Delivery is at least once. What makes it harmless is not the queue but settlement, which claims the
identity of every event in the transaction that charges it. Order is roughly first in, first out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Settle = Callable[[Sequence["Batch"]], None]


@dataclass(frozen=True, slots=True)
class Batch:
    """What waits: an opaque text that only intake and settlement read."""

    organization_id: str
    batch_id: str
    envelope: str
    event_count: int
    #: Deliveries before this one that came to nothing.
    attempt_count: int = 0
    create_time: int = 0
    #: How the queue that delivered it finds it again; nobody else reads it.
    receipt: str = ""


class Queue(Protocol):
    """What intake and settlement need. Any thread may append; one worker at a time does the rest."""

    def append(self, batches: Sequence[Batch]) -> None:
        """Make batches durable. After an error some may be there: the caller sends all of them again."""

    def process(self, event_count_max: int, settle: Settle) -> bool:
        """Run `settle` on the oldest batches that are due, in one transaction; False if there is none.

        It gets at least one batch and, if there are more, at most so many events. What `settle` does
        with `finish` and `postpone` holds if the transaction commits. A batch that it neither finishes
        nor postpones, or whose transaction fails, is delivered again.
        """

    def finish(self, batches: Sequence[Batch]) -> None:
        """Forget batches that are settled."""

    def postpone(self, batch: Batch, retry_time: int) -> None:
        """Count a failed attempt and do not deliver the batch before `retry_time`, in microseconds."""

    def status(self, organization_id: str) -> tuple[int, int | None]:
        """How many batches of an organization are not finished, and since when the oldest waits."""

    def backlog(self) -> tuple[int, int | None]:
        """How many batches of all organizations wait, up to a bound, and since when the oldest does."""

    def search(self, organization_id: str, text: str) -> Sequence[str]:
        """Return some envelopes of an organization that wait and contain a text, as far as that is cheap."""

    def incarnation(self) -> str:
        """Name this life of the queue: where it is another, what was in it may be lost. Empty is none."""

    def wait(self, timeout_s: float) -> None:
        """Return when batches have arrived, or `wake` was called, or after this time at the latest."""

    def wake(self) -> None:
        """End a `wait` that runs, or else the next one."""


def batches_wanted(event_count_max: int, taken: Sequence[Batch]) -> int:
    """How many more batches to ask for, if they are as large as those that were taken.

    The size of a batch is known only when it is read, and what is read too much is locked for nothing.
    """
    if not taken:
        return 1
    events = sum(batch.event_count for batch in taken)
    return max(1, (event_count_max - events) * len(taken) // max(1, events))


def fitting(event_count_max: int, batches: Sequence[Batch]) -> list[Batch]:
    """The first batches, whole, with at most so many events; at least one if there is any."""
    total = 0
    for index, batch in enumerate(batches):
        total += batch.event_count
        if index and total > event_count_max:
            return list(batches[:index])
    return list(batches)
