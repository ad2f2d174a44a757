"""A cell's verdict, from its rows in base and candidate and a judgment of its latencies."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attnbench.comparison.definitions import MEMORY_LIMIT, CellVerdict, Judgment, Verdict
from attnbench.core.record import Status
from attnbench.core.text import MEBIBYTE
from attnbench.results.rows import Row, is_ok, missing
from attnbench.results.table import PROBLEM

CellKey = tuple[Any, ...]
"""Case, backend and problem: equal in two runs that measured the same."""
_MEMORY_MARGIN = 1.01
"""Peak memory repeats to the byte, so it needs no test; 1 % and 1 MiB leave room for torch's rounding of blocks."""
_FUSED = "_scaled_dot_product_"
_ATTENTION = re.compile("attention|attn|fmha", re.IGNORECASE)
_ORDER = list(Verdict)
_VERSIONS = ("torch", "cuda", "driver", "python", "commit")
_BRINGS_KERNELS = re.compile(r"torch|triton|nvidia|cuda|xformers|flash|natten", re.IGNORECASE)
"""Packages listed first: a change of one of them is the likeliest cause."""


def key_of(row: Row) -> CellKey:
    """The cell of a table's row."""
    return (row["case"], row["backend"], *(row[name] for name in PROBLEM))


def verdict_of(
    key: CellKey,
    past: Sequence[Row],
    now: Row | None,
    judgment: Judgment | None,
    *,
    margin: float,
    flaky: bool = False,
    kernels: bool = True,
) -> CellVerdict:
    """A cell's verdict.

    Args:
        key: The cell.
        past: Its rows in the base runs that have it, oldest first.
        now: Its row in the candidate.
        judgment: Of its latencies, if there are enough of them in both.
        margin: The slowdown that fails it.
        flaky: Whether it is set aside.
        kernels: Whether to compare kernels.
    """
    before = [row for row in past if is_ok(row)]
    newest = next(iter([*reversed(before), *reversed(past)]), None)
    peaks = _peak_bytes(newest), _peak_bytes(now)
    names = "" if newest is None else newest["kernel"], "" if now is None else now["kernel"]
    in_both = bool(before) and now is not None and is_ok(now)
    judgment = judgment if in_both else None
    verdict, reason = _by_status_and_latency(past, now, judgment)
    reasons = [reason]
    limits = [f"fails on slowdowns of at least {100 * margin:.3g} %"] if judgment is not None else []
    if in_both and kernels and _kernel_changed(*names):
        reasons.insert(0, f"kernel {' -> '.join(name.removeprefix(_FUSED) for name in names)}")
        verdict = Verdict.KERNEL_CHANGED if verdict in (Verdict.STABLE, Verdict.INCONCLUSIVE) else verdict
    if in_both and (grown := _memory_growth(*peaks)):
        if verdict is Verdict.REGRESSED:
            reasons.insert(0, "slower")
        else:
            limits.clear()
        reasons.insert(0, grown)
        limits.append(MEMORY_LIMIT)
        verdict = Verdict.REGRESSED
    return CellVerdict(
        case=key[0],
        backend=key[1],
        verdict=verdict,
        reason="; ".join(filter(None, reasons)),
        ratio=judgment.ratio if judgment else None,
        p_value=judgment.p_value if judgment else None,
        min_detectable_ratio=judgment.min_detectable_ratio if judgment else None,
        base_status=None if newest is None else Status(newest["status"]),
        candidate_status=None if now is None else Status(now["status"]),
        base_ms=math.exp(statistics.fmean(math.log(row["latency_ms"]) for row in before)) if before else None,
        candidate_ms=now["latency_ms"] if now is not None and is_ok(now) else None,
        base_peak_bytes=peaks[0],
        candidate_peak_bytes=peaks[1],
        base_kernel=names[0],
        candidate_kernel=names[1],
        limit="; ".join(limits),
        flaky=flaky,
    )


def _by_status_and_latency(past: Sequence[Row], now: Row | None, judgment: Judgment | None) -> tuple[Verdict, str]:
    """The verdict but for memory and kernel, and its reason."""
    if now is None:
        return Verdict.REMOVED, "not in the candidate"
    worked = any(map(is_ok, past))
    if not is_ok(now):
        return _of_failure(past, now, worked=worked), f"{now['status']}: {now['reason']}"
    if not past:
        return Verdict.ADDED, "not in the base"
    if not worked:
        return Verdict.FIXED, f"was {past[-1]['status']}: {past[-1]['reason']}"
    if judgment is None:
        return Verdict.INCONCLUSIVE, "too few processes to judge it"
    # Flags are a likely cause of noise, and need no mention where the verdict is certain.
    flags = now["flags"].split() if judgment.verdict in (Verdict.SUSPECT, Verdict.INCONCLUSIVE) else []
    return judgment.verdict, "; ".join(filter(None, (judgment.reason, ", ".join(flags))))


def _of_failure(past: Sequence[Row], now: Row, *, worked: bool) -> Verdict:
    """The verdict on a cell that is not ok in the candidate.

    A backend that is not installed, or cannot compute a problem, was not tried: only where it worked before is it
    broken.
    """
    if worked:
        return Verdict.BROKEN
    failed_before = bool(past) and Status(past[-1]["status"]).tried
    if Status(now["status"]).tried:
        return Verdict.STILL_FAILING if failed_before else Verdict.BROKEN
    if not past:
        return Verdict.ADDED
    return Verdict.STILL_FAILING if failed_before else Verdict.STABLE


def _memory_growth(before: int | None, now: int | None) -> str:
    if before is None or now is None or now <= max(_MEMORY_MARGIN * before, before + MEBIBYTE):
        return ""
    return f"peak memory {before / MEBIBYTE:.1f} -> {now / MEBIBYTE:.1f} MiB"


def _kernel_changed(before: str, now: str) -> bool:
    """Whether torch dispatched to another attention operator.

    The longest kernel's name, which follows the operator's, is left out, and so is an operator that is no attention:
    the longest of several that take about as long varies by itself.
    """
    operators = [kernel.partition(" ")[0] for kernel in (before, now)]
    fused = any(operator.startswith(_FUSED) for operator in operators)
    return operators[0] != operators[1] and all(operators) and (fused or all(map(_ATTENTION.search, operators)))


def _peak_bytes(row: Row | None) -> int | None:
    return None if row is None or missing(row["peak_bytes"]) else int(row["peak_bytes"])


def worst_first(cells: Iterable[CellVerdict]) -> tuple[CellVerdict, ...]:
    """By verdict, then by how much slower."""
    return tuple(
        sorted(cells, key=lambda cell: (_ORDER.index(cell.verdict), -(cell.ratio.value if cell.ratio else 0.0)))
    )


def median_detectable(cells: Iterable[CellVerdict]) -> float | None:
    """The smallest detectable ratio of the median cell; None if unknown."""
    found = [cell.min_detectable_ratio for cell in cells if cell.min_detectable_ratio is not None]
    return statistics.median(found) if found else None


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What changed between two environments: versions first, then packages that bring kernels."""
    if not (before and after):
        return []
    changes = [(name, before.get(name), after.get(name)) for name in _VERSIONS]
    for group in ("packages", "flags"):
        old, new = before.get(group, {}), after.get(group, {})
        names = sorted({*old, *new} - {*_VERSIONS}, key=lambda name: (not _BRINGS_KERNELS.search(name), name))
        changes += [(name, old.get(name, "absent"), new.get(name, "absent")) for name in names]
    return [f"{name} {old} -> {new}" for name, old, new in changes if old != new]
