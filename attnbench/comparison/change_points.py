"""Where a history changed: the first value of every level but the first."""

from __future__ import annotations

from collections.abc import Sequence

from attnbench.comparison.levels import NEWEST, current_level


def change_points(values: Sequence[float], *, margin: float) -> list[int]:
    """The index of the first value of every level but the first, by the rule that judges histories.

    Args:
        values: Log latencies, oldest first.
        margin: The slowdown that fails, such as 0.05.
    """
    found: list[int] = []
    end = len(values)
    while end:
        start = current_level(values[:end], margin=margin).start
        if start == max(0, end - NEWEST):  # it does not look further back, so nothing began there
            break
        found.append(start)
        end = start
    return found[::-1]
