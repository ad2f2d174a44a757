"""A recommendation as a sheet, and as data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attnbench.analysis.recommendation import Basis, Candidate, Recommendation
from attnbench.core.stats import Estimate
from attnbench.core.text import plural
from attnbench.report.layout import Column, Grid, Sheet, enumerate_names
from attnbench.report.numbers import NOTHING, interval_of, mebibytes, ratio_interval, rounded


def recommendation_table(found: Recommendation) -> Sheet:
    """Lay out a recommendation."""
    title = found.problem.label
    return Sheet(
        heading=f"Use {found.backend} ({certainty(found)})",
        question=_basis(found),
        grids=(Grid(title=title, columns=tuple(_columns(found.candidates))),),
        notes=found.excluded,
    )


def certainty(found: Recommendation) -> str:
    """How sure a recommendation is, in words."""
    others = found.candidates[1:]
    if not others:
        return "no other backend was measured"
    if found.sure is None:
        return "one process: how sure cannot be told"
    tied = [other.backend for other in others if other.tied]
    return f"a tie with {enumerate_names(tied)}" if tied else "surely the fastest"


def _basis(found: Recommendation) -> str:
    where = ", ".join(filter(None, (found.device, found.torch and f"torch {found.torch}", found.run)))
    if found.basis is Basis.MEASURED:
        return f"This very problem was measured ({where})."
    assert found.error is not None
    return (
        f"Not measured: a power law through {plural(found.points, 'measured case')} says so; it predicts each of them "
        f"within {100 * (found.error - 1):.0f} % without having seen it ({where})."
    )


def _columns(candidates: tuple[Candidate, ...]) -> Iterator[Column]:
    def column(header: str, texts: list[str], *, numeric: bool = True) -> Column:
        return Column(header=header, cells=tuple(texts), numeric=numeric)

    yield column("backend", [one.backend for one in candidates], numeric=False)
    yield column("latency ms", [rounded(one.latency_ms.value, one.latency_ms.uncertainty) for one in candidates])
    yield column("95 % interval", [interval_of(one.latency_ms) for one in candidates])
    yield column("times the fastest", [_times(one.times_best) for one in candidates])
    yield column("95 % interval", [NOTHING, *(ratio_interval(one.times_best) for one in candidates[1:])])
    yield column("peak MiB", [mebibytes(one.peak_bytes) for one in candidates])


def _times(ratio: Estimate) -> str:
    return "1x" if ratio.value == 1 else f"{rounded(ratio.value, ratio.uncertainty)}x"


def recommendation_data(found: Recommendation) -> dict[str, Any]:
    """The same for programs."""
    return {
        "backend": found.backend,
        "name": found.name,
        "sure": found.sure,
        "basis": str(found.basis),
        "problem": found.problem.to_json(),
        "runner_up": found.runner_up.backend if found.runner_up else None,
        "candidates": [_candidate(one) for one in found.candidates],
        "excluded": list(found.excluded),
        "run": found.run,
        "device": found.device,
        "torch": found.torch,
        "points": found.points,
        "error": found.error,
        "reason": "",
    }


def _candidate(one: Candidate) -> dict[str, Any]:
    return {
        "backend": one.backend,
        "name": one.name,
        "latency_ms": one.latency_ms.value,
        "latency_low_ms": one.latency_ms.low,
        "latency_high_ms": one.latency_ms.high,
        "times_best": one.times_best.value,
        "times_best_low": one.times_best.low,
        "times_best_high": one.times_best.high,
        "tied": one.tied,
        "peak_bytes": one.peak_bytes,
    }


def declined_data(problem: dict[str, Any], reason: str) -> dict[str, Any]:
    """The same where nothing can be recommended."""
    return {"backend": None, "problem": problem, "candidates": [], "reason": reason}
