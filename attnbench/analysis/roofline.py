"""Where cells lie under the roofline (Williams et al. 2009, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from attnbench.analysis.functions import Function, Row, problem_of
from attnbench.core.cost import cost
from attnbench.core.record import Ceilings
from attnbench.results.table import PROBLEM


@dataclass(frozen=True, kw_only=True)
class Roof:
    """The two ceilings of one dtype."""

    dtype: str
    ceilings: Ceilings

    @property
    def ridge(self) -> float:
        """FLOPs per byte where bandwidth and arithmetic bound the time alike."""
        return self.ceilings.flops_per_s / self.ceilings.bytes_per_s

    def flops_per_s(self, intensity: float) -> float:
        """The rate that the ceilings allow at ``intensity`` FLOPs per byte."""
        return min(self.ceilings.flops_per_s, intensity * self.ceilings.bytes_per_s)


def roofs(environment: Mapping[str, Any]) -> dict[str, Roof]:
    """The ceilings of a run by dtype, as far as it has any."""
    found = {}
    for dtype, ceilings in (environment.get("ceilings") or {}).items():
        rates = [ceilings.get(name) for name in ("bytes_per_s", "flops_per_s")]
        if all(isinstance(rate, int | float) and rate > 0 for rate in rates):
            found[dtype] = Roof(dtype=dtype, ceilings=Ceilings(bytes_per_s=rates[0], flops_per_s=rates[1]))
    return found


def intensity_of(row: Row) -> float:
    """The FLOPs per byte that a row's problem asks for."""
    return _intensity(tuple(row[field] for field in PROBLEM))


@lru_cache(maxsize=2**14)
def _intensity(fields: Function) -> float:
    return cost(problem_of(dict(zip(PROBLEM, fields, strict=True)))).intensity
