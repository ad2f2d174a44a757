"""Where the time of a layer goes, from cells that measured one problem at several scopes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attnbench.analysis.sweeps import fields_of, grouped
from attnbench.core.problem import Scope
from attnbench.results.rows import Row, is_trusted

ATTENTION, LAYOUT, PROJECTIONS = "attention", "layout around it", "projections"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What one backend spent on one problem, part by part."""

    backend: str
    fixed: tuple[tuple[str, str], ...]
    """Name and value of the fields that the cells share but that vary in the run."""
    latencies_ms: tuple[tuple[str, float], ...]
    """By part, inside out. The scopes are measured one by one, so a part is a difference, and 0 where noise made it
    negative."""

    @property
    def title(self) -> str:
        """What the cells share, in words."""
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.fixed)


def parts_of(rows: Sequence[Row]) -> list[Parts]:
    """The parts of every backend that was measured at two scopes or more of one problem."""
    found = []
    for fixed, numbers in grouped(fields_of(rows), ("scope",), range(len(rows))):
        by_backend: dict[str, dict[str, float]] = {}
        for row in (rows[number] for number in numbers):
            if is_trusted(row):
                by_backend.setdefault(row["backend"], {})[row["scope"]] = row["latency_ms"]
        for backend, scopes in by_backend.items():
            if len(scopes) > 1:
                found.append(Parts(backend=backend, fixed=fixed, latencies_ms=_split(scopes)))
    return found


def _split(scopes: dict[str, float]) -> tuple[tuple[str, float], ...]:
    """Latencies by scope as those of parts; what no scope tells apart stays together."""
    inside_out = ((Scope.WINDOWS, ATTENTION), (Scope.MAP, LAYOUT), (Scope.LAYER, PROJECTIONS))
    parts: list[tuple[str, float]] = []
    spent, pending = 0.0, ""
    for scope, part in inside_out:
        name = f"{pending} and {part}" if pending else part
        if scope in scopes:
            parts.append((name, max(0.0, scopes[scope] - spent)))
            spent, pending = scopes[scope], ""
        else:
            pending = name
    return tuple(parts)
