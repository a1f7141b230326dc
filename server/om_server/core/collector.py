"""Python's collector of reference cycles, set for a process that makes many values and few cycles.

Measured on settlement: without this a third of its time went into looking at the catalogue and the
imported modules again and again, and each such look stopped every thread for tens of milliseconds.
"""

import gc

#: Allocations between two looks at the youngest values: a batch makes tens of thousands, and no cycle.
_YOUNG_MAX = 10_000


def spare_what_stays() -> None:
    """Keep what exists now out of every later collection. Call it once, when a process is set up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_MAX)
