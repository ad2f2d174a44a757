"""How near a cell is to what its device allows (Williams et al. 2009, section 3), and what nothing can be.

Where caches are hot, a cell's data may never leave them: the ceiling is then the rate of a copy that moves as much data
as the cell does (the cache-aware roofline, Ilic et al. 2014).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from attnbench.core.cost import cost
from attnbench.core.problem import Problem
from attnbench.core.record import Cache, Ceilings, Record
from attnbench.core.stats import process_statistic

_CACHES = 4
"""More data than so many times the last-level cache goes through memory even where caches are hot."""
_LEAST_SPREAD = 0.05
"""No rate is taken to be known better than this: the cell is timed some seconds after its ceilings."""


def copied_bytes(problem: Problem, *, cache: Cache, cache_bytes: int) -> int | None:
    """How much data the copy moves that a problem is held against; None for more than any cache holds."""
    moved = cost(problem).bytes
    return moved if cache is Cache.HOT and moved <= _CACHES * cache_bytes else None


def ceilings_for(problem: Problem, known: Sequence[Ceilings]) -> Ceilings | None:
    """Of a run's ceilings in a problem's dtype, those that belong to it; else those of the nearest size."""
    by_size = {one.copied_bytes: one for one in known}
    moved = cost(problem).bytes
    if found := by_size.get(moved, by_size.get(None)):
        return found
    return min(known, key=lambda one: abs(math.log((one.copied_bytes or moved) / moved)), default=None)


def roofline_fraction(record: Record) -> float | None:
    """The time that its ceilings allow, over the time it took; None where no ceilings were measured."""
    if record.ceilings is None:
        return None
    allowed_ms = record.ceilings.allowed_ms(cost(record.problem))
    return allowed_ms / process_statistic(record.samples_ms, record.device_type)


def is_implausible(record: Record) -> bool:
    """Whether an ok cell is faster than its ceilings allow by more than these are uncertain."""
    fraction = roofline_fraction(record)
    return (
        fraction is not None
        and record.ceilings is not None
        and fraction > 1 + max(_LEAST_SPREAD, record.ceilings.spread)
    )
