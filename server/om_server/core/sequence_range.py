"""Unbroken runs of journal positions, and sets of positions written as the fewest such runs."""

from collections.abc import Iterable
from typing import NamedTuple


class SequenceRange(NamedTuple):
    """The positions from `first` to `last`, both inclusive; `first` is never above `last`."""

    first: int
    last: int


def merged(ranges: Iterable[SequenceRange]) -> tuple[SequenceRange, ...]:
    """Return the fewest ranges with the same positions, in order: none overlap, none touch."""
    found: list[SequenceRange] = []
    for part in sorted(ranges):
        if found and part.first <= found[-1].last + 1:
            if part.last > found[-1].last:
                found[-1] = SequenceRange(found[-1].first, part.last)
        else:
            found.append(part)
    return tuple(found)


def runs(sequences: Iterable[int]) -> tuple[SequenceRange, ...]:
    """Return the fewest ranges with exactly these positions."""
    return merged(SequenceRange(sequence, sequence) for sequence in sequences)
