"""A suite on a machine as the index shows it: its newest answer, and a sparkline for every backend."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from attnbench.comparison.definitions import Comparison, Verdict
from attnbench.core.text import plural
from attnbench.report.charts.runs import Moment
from attnbench.report.numbers import significant

_WIDTH, _HEIGHT, _EDGE = 140.0, 28.0, 3.0
_MOST_POINTS = 70
"""Points of a sparkline; of more runs neighbours share one, their median."""
_LEAST_SPAN = math.log(1.1)
"""What a sparkline's height stands for at least: noise should look small."""
_MOVED = 1.05
"""A backend that is slower by this factor than it used to be is marked."""


@dataclass(frozen=True, kw_only=True)
class Sparkline:
    """The latency of one backend from run to run."""

    backend: str
    path: str
    """Of an SVG of 140 x 28; empty with fewer than two runs."""
    end: tuple[float, float]
    """Where the newest run is."""
    now_ms: float
    """The geometric mean over cases of the newest run."""
    ratio: float | None
    """Latency over the median of earlier runs, in the cases they share; None where there are none."""
    runs: int

    @property
    def now(self) -> str:
        """The latency in words."""
        return significant(self.now_ms)

    @property
    def change(self) -> str:
        """The ratio in words."""
        return "" if self.ratio is None else f"{self.ratio:.2f}x"

    @property
    def moved(self) -> bool:
        """Whether it looks slower than it used to be."""
        return self.ratio is not None and self.ratio > _MOVED


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What is said of the newest run beside the earlier ones."""

    regressed: int = 0
    suspect: int = 0
    improved: int = 0
    broken: int = 0

    @property
    def changed(self) -> bool:
        """Whether somebody should look."""
        return bool(self.regressed or self.broken or self.suspect)

    @property
    def text(self) -> str:
        """In words; empty where nothing changed."""
        told = [
            f"{plural(count, 'cell')} {name}"
            for name, count in (
                ("regressed", self.regressed),
                ("broken", self.broken),
                ("suspect", self.suspect),
                ("improved", self.improved),
            )
            if count
        ]
        return ", ".join(told)


def verdicts_of(comparison: Comparison | None) -> Verdicts:
    """Counted from a comparison."""
    counts = comparison.counts if comparison else {}
    return Verdicts(
        regressed=counts.get(Verdict.REGRESSED, 0),
        suspect=counts.get(Verdict.SUSPECT, 0),
        improved=counts.get(Verdict.IMPROVED, 0),
        broken=counts.get(Verdict.BROKEN, 0),
    )


def sparklines(moments: Sequence[Moment]) -> list[Sparkline]:
    """A sparkline for every backend of the newest run, fastest first.

    Args:
        moments: The runs, oldest first.
    """
    newest = _by_backend(moments[-1])
    before = [_by_backend(moment) for moment in moments[:-1]]
    found = [_sparkline(backend, cases, [one.get(backend, {}) for one in before]) for backend, cases in newest.items()]
    return sorted(found, key=lambda line: (line.now_ms, line.backend))


def _by_backend(moment: Moment) -> dict[str, dict[str, float]]:
    """By backend and case, log latency."""
    found: dict[str, dict[str, float]] = {}
    for case, backends in moment.latencies.items():
        for backend, (latency_ms, *_) in backends.items():
            found.setdefault(backend, {})[case] = math.log(latency_ms)
    return found


def _sparkline(backend: str, newest: dict[str, float], before: Sequence[dict[str, float]]) -> Sparkline:
    """Every run beside the newest, in the cases that both have: cases that come and go move nothing."""
    shared = [[log - newest[case] for case, log in cases.items() if case in newest] for cases in before]
    logs = [statistics.fmean(differences) for differences in shared if differences]
    path, end = _path([*logs, 0.0])
    return Sparkline(
        backend=backend,
        path=path if logs else "",
        end=end,
        now_ms=math.exp(statistics.fmean(newest.values())),
        ratio=math.exp(-statistics.median(logs)) if logs else None,
        runs=len(logs) + 1,
    )


def _path(logs: Sequence[float]) -> tuple[str, tuple[float, float]]:
    shown = _thinned(logs)
    low, high = min(shown), max(shown)
    span = max(high - low, _LEAST_SPAN)
    middle = (low + high) / 2
    step = (_WIDTH - 2 * _EDGE) / max(1, len(shown) - 1)
    points = [
        (_EDGE + step * place, _HEIGHT / 2 - (log - middle) / span * (_HEIGHT - 2 * _EDGE))
        for place, log in enumerate(shown)
    ]
    path = " ".join(f"{'L' if place else 'M'}{x:.1f} {y:.1f}" for place, (x, y) in enumerate(points))
    return path, (round(points[-1][0], 1), round(points[-1][1], 1))


def _thinned(logs: Sequence[float]) -> list[float]:
    """At most so many values, each the median of its neighbours; the last one stays itself."""
    if len(logs) <= _MOST_POINTS:
        return list(logs)
    *before, last = logs
    edges = [round(place * len(before) / (_MOST_POINTS - 1)) for place in range(_MOST_POINTS)]
    return [*(statistics.median(before[start:end]) for start, end in pairwise(edges)), last]
