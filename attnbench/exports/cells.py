"""Cells that have numbers: all that formats hold which know numbers only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from attnbench.comparison.verdict import Comparison
from attnbench.core.record import Status
from attnbench.core.stats import Estimate
from attnbench.report.numbers import missing
from attnbench.results.store import StoredRun


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A cell that is ok."""

    suite: str
    case: str
    backend: str
    latency_ms: Estimate
    images_per_s: Estimate | None = None
    peak_bytes: int | None = None
    kernel: str = ""
    flags: str = ""
    device: str = ""
    """As torch spells it; empty, like what follows, where only a comparison is known."""
    dtype: str = ""
    mode: str = ""
    pattern: str = ""
    scope: str = ""

    @property
    def name(self) -> str:
        """Suite, case and backend."""
        return f"{self.suite}/{self.case}/{self.backend}"


def of_run(run: StoredRun, *, suite: str) -> Iterator[Measured]:
    """Every cell of a run that is ok.

    Args:
        run: The run.
        suite: The suite's name, where the table does not tell.
    """
    for row in run.table.to_dict("records"):
        if row["status"] != Status.OK:
            continue
        low, high = (None if missing(row[name]) else row[name] for name in ("latency_low_ms", "latency_high_ms"))
        latency_ms = _finite(row["latency_ms"], low, high)
        yield Measured(
            suite=row["suite"] or suite,
            latency_ms=latency_ms,
            images_per_s=None if missing(row["images_per_s"]) else _rate(row["images_per_s"], latency_ms),
            peak_bytes=None if missing(row["peak_bytes"]) else int(row["peak_bytes"]),
            **{str(name): row[name] for name in _DESCRIBED},
        )


def of_candidate(comparison: Comparison) -> Iterator[Measured]:
    """Every cell that the candidate measured, as far as the comparison tells."""
    for cell in comparison.cells:
        if cell.candidate_ms is not None:
            yield Measured(
                suite=comparison.suite,
                case=cell.case,
                backend=cell.backend,
                latency_ms=_finite(cell.candidate_ms, None, None),
                peak_bytes=cell.candidate_peak_bytes,
                kernel=cell.candidate_kernel,
            )


def told_apart(cells: Iterable[Measured]) -> list[Measured]:
    """The cells with a number in their case where a name comes again, as in tables put together by hand.

    Formats that know a cell by its name would keep one of them and drop the others.
    """
    found: dict[str, Measured] = {}
    for cell in cells:
        named, times = cell, 1
        while named.name in found:
            times += 1
            named = replace(cell, case=f"{cell.case} [{times}]")
        found[named.name] = named
    return list(found.values())


_DESCRIBED = ("case", "backend", "kernel", "flags", "device", "dtype", "mode", "pattern", "scope")


def _finite(value: float, low: float | None, high: float | None) -> Estimate:
    """An interval without an end says nothing, and few formats have a word for infinity."""
    known = low is not None and high is not None and math.isfinite(low) and math.isfinite(high)
    return Estimate(value=value, low=low if known else None, high=high if known else None)


def _rate(images_per_s: float, latency_ms: Estimate) -> Estimate:
    """As uncertain as the latency that it was divided by."""
    if not latency_ms.low or not latency_ms.high:
        return Estimate(value=images_per_s, low=None, high=None)
    low, high = (images_per_s * latency_ms.value / end for end in (latency_ms.high, latency_ms.low))
    return _finite(images_per_s, low, high)
