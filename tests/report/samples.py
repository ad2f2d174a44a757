"""Runs that pages are made of in tests."""

from __future__ import annotations

from typing import Any

from attnbench.core.problem import Dtype
from attnbench.core.record import Record, Status
from attnbench.results.store import StoredRun
from tests.analysis.tables import cell, stored
from tests.samples import failed

HOSTILE = "</script><img src=x onerror=alert(1)>\u202e{{7*7}}${1}[a](javascript:alert(2))<!--"
CEILINGS = {str(dtype): [{"bytes_per_s": 2e10, "flops_per_s": 1e11}] for dtype in Dtype}


def sweep(backend: str = "naive", factor: float = 2.0, *, case: str = "map ", position: int = 0) -> list[Record]:
    found = []
    for side in (14, 28, 56):
        base = factor * side * side / 1000
        for dtype in ("float32", "bfloat16"):
            latencies = [base, 1.02 * base, 0.99 * base]
            found += cell(
                backend, latencies, f"{case}{side} {dtype}", height=side, width=side, dtype=dtype, position=position
            )
    return found


def swept(**facts: Any) -> StoredRun:
    missing = failed("flash_attn", Status.UNAVAILABLE, "no kernels for cpu", "map 14 float32", position=2)
    return stored(
        sweep(), sweep("sdpa", 1.0, position=1), [missing], suite={"baseline": "naive"}, ceilings=CEILINGS, **facts
    )


def days(count: int, **changed: Any) -> list[StoredRun]:
    """Runs of one suite on one machine, a day apart."""
    return [
        stored(
            cell("naive", [2.0, 2.01, 2.02]),
            cell("sdpa", [value * factor for value in (1.0, 1.01, 1.0 + day / 1000)], position=1),
            path=f"day-{day}", started_at=f"2026-01-{day + 1:02}T00:00:00+00:00", ceilings=CEILINGS, **changed,
        )
        for day, factor in enumerate([1.0] * (count // 2) + [1.5] * (count - count // 2))
    ]  # fmt: skip


def hostile_run() -> StoredRun:
    return stored(
        sweep(HOSTILE, 1.0, case=HOSTILE),
        sweep("naive", 2.0, case=HOSTILE, position=1),
        [failed("'\"><b>", Status.ERROR, HOSTILE, f"{HOSTILE}14 float32", position=2)],
        path=HOSTILE,
        suite={"name": HOSTILE, "description": HOSTILE, "baseline": HOSTILE},
        device_name=HOSTILE,
        commit=HOSTILE,
        packages={HOSTILE: HOSTILE},
        ceilings=CEILINGS,
    )
