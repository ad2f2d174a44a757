"""Runs and comparisons with every verdict and every status in them, and names that break what is careless."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attnbench.comparison.cell_verdict import worst_first
from attnbench.comparison.definitions import CellVerdict, Comparison, Verdict
from attnbench.core.record import Record, Status
from attnbench.core.stats import Estimate
from attnbench.exports.results import ComparisonResults, RunResults
from attnbench.results.store import StoredRun
from attnbench.results.table import Cells
from tests.samples import environment, failed, record

NASTY = 'stage [1] | a::b, 100 % <b>&amp; "é 漢 🙂" \\ `c` %0A ##[error]x'
"""Of one line: what is markup somewhere."""
BROKEN_LINE = f"{NASTY}\nsecond line"
COLORED = "\x1b[31mno kernel\x1b[0m for cpu\x07\x00\ufffe"
"""What no XML can hold."""
DIED = (Status.OOM, Status.TIMEOUT, Status.CRASHED, Status.ERROR)
UNFIT = (Status.UNAVAILABLE, Status.UNSUPPORTED)


def run_of(records: Sequence[Record], *, cells: int | None = None) -> StoredRun:
    """A run that was never on disk."""
    gathered = Cells()
    for one in records:
        gathered.add(one)
    return StoredRun(
        path=Path("results/sample"),
        table=gathered.table(suite="sample"),
        environment=environment().to_json(),
        suite={"name": "sample", "baseline": "naive", "backends": ["naive", "sdpa"]},
        cells=len(gathered.table(suite="sample")) if cells is None else cells,
    )


def run_of_every_status() -> StoredRun:
    """Two processes of an ok cell of every name, and a failure of every kind."""
    records = [
        record("sdpa", name, latency_ms=2.0 + process / 10, position=position, round=process)
        for position, name in enumerate(("stage 1", NASTY, BROKEN_LINE))
        for process in range(2)
    ]
    records += [
        failed(status, status, f"{status} it was, {COLORED}", case="stage 1", position=10 + position)
        for position, status in enumerate(status for status in Status if status is not Status.OK)
    ]
    return run_of(records)


def cell(verdict: Verdict, case: str = "stage 1", backend: str = "sdpa", **fields: Any) -> CellVerdict:
    """A cell as its verdict has it; give what matters."""
    known: dict[str, Any] = {"base_status": Status.OK, "candidate_status": Status.OK, "base_ms": 2.0}
    known |= {"candidate_ms": 2.5, "ratio": Estimate(value=1.25, low=1.2, high=1.302), "p_value": 3e-5}
    known |= {"base_peak_bytes": 2**20, "candidate_peak_bytes": 2**20, "min_detectable_ratio": 1.034}
    nothing = {"ratio": None, "p_value": None, "min_detectable_ratio": None}
    match verdict:
        case Verdict.BROKEN:
            known |= {**nothing, "candidate_status": Status.CRASHED, "candidate_ms": None, "reason": "crashed: signal"}
            known |= {"candidate_peak_bytes": None}
        case Verdict.REMOVED:
            known |= {**nothing, "candidate_status": None, "candidate_ms": None, "candidate_peak_bytes": None}
            known |= {"reason": "not in the candidate"}
        case Verdict.ADDED:
            known |= {**nothing, "base_status": None, "base_ms": None, "base_peak_bytes": None}
            known |= {"reason": "not in the base"}
        case Verdict.STILL_FAILING:
            known |= {**nothing, "base_status": Status.ERROR, "candidate_status": Status.ERROR, "base_ms": None}
            known |= {"candidate_ms": None, "candidate_peak_bytes": None, "reason": "error: no kernel"}
        case Verdict.REGRESSED:
            known |= {"limit": "fails on slowdowns of at least 5 %"}
        case Verdict.FIXED:
            known |= {**nothing, "base_status": Status.OOM, "base_ms": None, "reason": "was oom: too much"}
        case Verdict.IMPROVED:
            known |= {"candidate_ms": 1.0, "ratio": Estimate(value=0.5, low=0.48, high=0.52)}
        case Verdict.STABLE | Verdict.INCONCLUSIVE | Verdict.KERNEL_CHANGED:
            known |= {"candidate_ms": 2.0, "ratio": Estimate(value=1.0, low=0.99, high=1.01), "p_value": None}
    return CellVerdict(case=case, backend=backend, verdict=verdict, **{**known, **fields})


def idle_cell(case: str = "stage 1", backend: str = "flash_attn") -> CellVerdict:
    """A cell that could be measured in neither."""
    status = {"base_status": Status.UNAVAILABLE, "candidate_status": Status.UNAVAILABLE}
    numbers = dict.fromkeys(
        ("base_ms", "candidate_ms", "base_peak_bytes", "candidate_peak_bytes", "min_detectable_ratio")
    )
    why = f"unavailable: {COLORED}"
    return cell(Verdict.STABLE, case, backend, ratio=None, reason=why, **status, **numbers)


def comparison_of(cells: Sequence[CellVerdict], **fields: Any) -> Comparison:
    """A comparison of these cells; give what matters."""
    known = {
        "suite": "sample",
        "device": "Test Machine",
        "base": "results/base",
        "candidate": "results/candidate",
        "method": "beside 6 runs",
        "fail_above": 1.05,
        "min_detectable_ratio": 1.034,
        "differences": ("torch 2.12.0 -> 2.13.0",),
        **fields,
    }
    return Comparison(cells=worst_first(cells), **known)


def comparison_of_every_verdict() -> Comparison:
    """Every verdict under every name, breakage of every status, and a cell that could be measured in neither."""
    names = ("stage 1", NASTY, BROKEN_LINE)
    cells = [cell(verdict, name, f"sdpa_{verdict}") for verdict in Verdict for name in names]
    cells += [
        cell(Verdict.BROKEN, backend=f"broken_{status}", candidate_status=status, reason=f"{status}: {COLORED}")
        for status in Status
        if status is not Status.OK
    ]
    return comparison_of([*cells, idle_cell()], candidate="results/\udcff")  # a path that is no text


_NO_CELLS = run_of([])


def compared(comparison: Comparison) -> ComparisonResults:
    """A comparison whose candidate's run does not matter."""
    return ComparisonResults(comparison=comparison, run=_NO_CELLS)


EVERY_RESULTS: dict[str, RunResults | ComparisonResults] = {
    "run": RunResults(run=run_of_every_status()),
    "comparison": ComparisonResults(run=run_of_every_status(), comparison=comparison_of_every_verdict()),
}
