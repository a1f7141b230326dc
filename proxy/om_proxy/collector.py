"""Python's collector of reference cycles, set for a process that makes many values and few cycles.

Measured under load: 4 to 12 percent of the processor time of a call.
"""

import gc

#: Allocations between two looks at the youngest values. What hangs together in a cycle waits so long at most.
_YOUNG_MAX = 10_000


def spare_what_stays() -> None:
    """Keep what exists now out of every later collection. Call it once, when a process is set up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_MAX)
