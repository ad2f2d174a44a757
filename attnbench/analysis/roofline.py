"""Where cells lie under the roofline (Williams et al. 2009, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from attnbench.core.cost import cost
from attnbench.core.record import Ceilings
from attnbench.results.rows import Function, Row
from attnbench.results.table import PROBLEM, problem_of


@dataclass(frozen=True, kw_only=True)
class Roof:
    """The two ceilings of one dtype, for one amount of data."""

    dtype: str
    ceilings: Ceilings

    @property
    def ridge(self) -> float:
        """FLOPs per byte where bandwidth and arithmetic bound the time alike."""
        return self.ceilings.flops_per_s / self.ceilings.bytes_per_s

    def flops_per_s(self, intensity: float) -> float:
        """The rate that the ceilings allow at ``intensity`` FLOPs per byte."""
        return min(self.ceilings.flops_per_s, intensity * self.ceilings.bytes_per_s)


def roofs(environment: Mapping[str, Any]) -> dict[str, tuple[Roof, ...]]:
    """The lowest and the highest roof of a run by dtype, as far as it has any.

    Where caches are hot, every cell has a roof of its own: that of a copy of as much data as the cell moves.
    """
    found = {}
    for dtype, ceilings in (environment.get("ceilings") or {}).items():
        try:
            known = sorted((Ceilings(**one) for one in ceilings), key=lambda one: one.bytes_per_s)
        except (TypeError, ValueError):  # an environment.json that somebody edited
            continue
        ends = {one.bytes_per_s: one for one in (*known[:1], *known[-1:])}
        if ends:
            found[dtype] = tuple(Roof(dtype=dtype, ceilings=one) for one in ends.values())
    return found


def intensity_of(row: Row) -> float:
    """The FLOPs per byte that a row's problem asks for."""
    return _intensity(tuple(row[field] for field in PROBLEM))


@lru_cache(maxsize=2**14)
def _intensity(fields: Function) -> float:
    return cost(problem_of(dict(zip(PROBLEM, fields, strict=True)))).intensity
