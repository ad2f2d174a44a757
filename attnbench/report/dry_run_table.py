"""What a suite asks for, case by case, before anything is measured: bytes, FLOPs, and the time they take at least."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from attnbench.core.cost import Cost, cost
from attnbench.core.errors import UsageError
from attnbench.core.problem import Dtype
from attnbench.core.record import Case, Ceilings
from attnbench.core.roofline import ceilings_for
from attnbench.results.listing import LATEST
from attnbench.results.store import read_run

_TERA = 1e12
_WHOLE = 1000
_DATASHEETS = {
    "a100": (2.039, 19.5, 312),
    "h100": (3.35, 67, 989),
    "h200": (4.8, 67, 989),
    "b200": (8.0, 80, 2250),
    "l40s": (0.864, 91.6, 362),
    "rtx4090": (1.008, 82.6, 165),
}
"""NVIDIA's datasheets (SXM, dense, 80 GB where there are two): TB/s, TFLOP/s in float32 and in half precision."""


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """The ceilings that a plan is held against."""

    device: str
    """As torch spells it: batches may depend on it."""
    ceilings: dict[str, tuple[Ceilings, ...]]
    """By dtype."""


def read_assumed(given: str) -> Assumed:
    """Ceilings by the name of a GPU, or those that a stored run measured.

    Raises:
        UsageError: It is neither.
        StoredRunError: The run cannot be read.
    """
    if figures := _DATASHEETS.get(given.lower()):
        bandwidth, single, half = figures
        rates = {dtype: single if dtype is Dtype.FLOAT32 else half for dtype in Dtype}
        return Assumed(
            device="cuda:0",
            ceilings={
                dtype: (Ceilings(bytes_per_s=bandwidth * _TERA, flops_per_s=rate * _TERA),)
                for dtype, rate in rates.items()
            },
        )
    if given != LATEST and "/" not in given and not given.endswith((".parquet", ".csv")):
        raise UsageError(
            f"--assume {given}: not a GPU (allowed: {', '.join(_DATASHEETS)}, a run's directory, or {LATEST})"
        )
    environment: dict[str, Any] = read_run(given).environment
    known = environment.get("ceilings") or {}
    if not known:
        raise UsageError(f"--assume {given}: no ceilings were measured there; give another run, or a GPU's name")
    return Assumed(
        device=str(environment["device"]),
        ceilings={dtype: tuple(Ceilings(**one) for one in found) for dtype, found in known.items()},
    )


def plan_lines(cases: Sequence[Case], assumed: Assumed | None) -> Iterator[str]:
    """A line per case: its name, the problem where that says more, its work, and the time by the ceilings."""
    for case in cases:
        work = cost(case.problem)
        named = case.name if case.name == case.problem.label else f"{case.name}: {case.problem.label}"
        told = [f"{work.bytes / 1e6:.3g} MB", f"{work.flops / 1e9:.3g} GFLOP"]
        if assumed is not None:
            found = ceilings_for(case.problem, assumed.ceilings.get(case.problem.dtype, ()))
            told.append(_least(found, work))
        yield f"{named}; {', '.join(told)}"


def _least(ceilings: Ceilings | None, work: Cost) -> str:
    if ceilings is None:
        return "no ceilings for its dtype"
    by_bytes, by_flops = 1e6 * work.bytes / ceilings.bytes_per_s, 1e6 * work.flops / ceilings.flops_per_s
    what = "bytes" if by_bytes >= by_flops else "FLOPs"
    least = max(by_bytes, by_flops)
    return f"at least {least:{'.0f' if least >= _WHOLE else '.3g'}} us (by {what})"
