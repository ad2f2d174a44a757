"""About how long a measurement takes, said before it starts."""

from __future__ import annotations

from attnbench.core.record import Measure

_START_S = 5.0
"""Until the first process can measure: mostly importing torch."""
_ROUND_S = 0.3
"""Fresh processes for a round, and its share in importing torch anew after ten."""
_CELL_S = 0.1
"""Preparing, checking and warming up a cell, besides timing it. Compiling takes longer."""
_MINUTES_FROM_S = 100.0


def about(measure: Measure, *, cells: int, rounds: int) -> str:
    """The time that so many cells take in so many rounds, in words.

    Args:
        measure: How they are measured.
        cells: Cells, on both sides where there are two.
        rounds: Rounds of fresh processes.
    """
    seconds = _START_S + rounds * (_ROUND_S + cells * (measure.max_time_s + _CELL_S))
    return f"about {seconds / 60:.0f} min" if seconds > _MINUTES_FROM_S else f"about {seconds:.0f} s"
