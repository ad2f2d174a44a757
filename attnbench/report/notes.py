"""Notes below the tables of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from attnbench.core.record import Flag, Status
from attnbench.core.text import plural
from attnbench.report.layout import enumerate_names
from attnbench.results.rows import Row, is_ok, pattern_of, rows_of
from attnbench.results.store import StoredRun

_MATH = "_scaled_dot_product_attention_math"
_MOST_NAMED = 3
_COLUMNS = [
    "case", "backend", "status", "reason", "flags", "kernel", "pattern", "height", "width", "window_height",
    "window_width",
]  # fmt: skip
_MEANING = {
    Flag.UNSTABLE: "the 95 % interval is wider than +-10 % (with one process: its quartiles); try --rigorous",
    Flag.LAUNCH_BOUND: "launching takes longer than running; use larger batches or CUDA graphs (measure.launch: graph)",
    Flag.THROTTLED: "the device lowered its clocks, or a CPU quota stopped the process (attnbench doctor)",
    Flag.CONTENDED: "other programs or virtual machines used the device (attnbench doctor)",
    Flag.IMPLAUSIBLE: "faster than the device's ceilings allow, also when these were measured again: not to be trusted",
    Flag.FEW_SAMPLES: "fewer than 20 samples (on a CPU 10), or under 100 ms, in a process (raise measure.max_time_s)",
    Flag.PAGE_FAULTS: "the timed calls waited for memory from the system (where measure.allocator is system: steady)",
    Flag.INTERRUPTED: "the process was stopped while it was sampled; those turns were measured again",
}


def notes(run: StoredRun, *, baseline: str | None) -> list[str]:
    """All notes, the most important first."""
    rows = run.rows
    return [
        *completeness(run),
        *_emulated(run),
        *_other_patterns(rows, baseline),
        *_ran_math(rows),
        *_flagged(rows),
        *_without_baseline(rows, baseline),
        *_failures(rows),
    ]


def _rows(frame: pd.DataFrame) -> Sequence[Row]:
    """What notes are made of."""
    return rows_of(frame[_COLUMNS])


def completeness(run: StoredRun) -> list[str]:
    """Notes on cells and processes that are missing."""
    if run.table.empty:
        return ["Nothing was measured: the run was interrupted."]
    found = []
    if run.unreached:
        found.append(f"{len(run.table)} of {run.cells} cells: the run was interrupted (--resume continues it).")
    threads, cores = (run.environment.get(name, 1) for name in ("threads", "cores"))
    if threads > cores:
        found.append(f"{threads} CPU threads share {cores} cores (measure.threads).")
    if run.unfinished:
        found.append(
            f"{plural(run.unfinished, 'cell')} with fewer than the suite's {run.processes} processes: the run was "
            "interrupted (--resume continues it)."
        )
    if bool((run.table["processes"] == 1).any()):
        found.append("One process: there are no intervals, and small differences may be noise (measure.processes).")
    return found


def _emulated(run: StoredRun) -> list[str]:
    """Dtypes that the device computes in float32."""
    known = (run.environment.get("ceilings") or {}).items()
    found = [dtype for dtype, ceilings in known if any(one.get("emulated") for one in ceilings)]
    if not found:
        return []
    verb = "is" if len(found) == 1 else "are"
    return [
        f"{enumerate_names(found)} {verb} emulated on this device: % of roofline is held against float32 arithmetic."
    ]


def failures(frame: pd.DataFrame) -> list[str]:
    """Why cells have no latency, each reason once; backends that are unavailable in every case stand in one note."""
    return _failures(_rows(frame))


def unavailable_everywhere(rows: Sequence[Row]) -> list[str]:
    """The backends that this machine lacks in every case: one line says so, and tables need no row for them."""
    statuses: dict[str, set[str]] = {}
    for row in rows:
        statuses.setdefault(row["backend"], set()).add(row["status"])
    return [backend for backend, found in statuses.items() if found == {Status.UNAVAILABLE}]


def ran_math(frame: pd.DataFrame) -> list[str]:
    """Cells that torch computed with its unfused kernel."""
    return _ran_math(_rows(frame))


def flagged(frame: pd.DataFrame) -> list[str]:
    """What each flag means, and which cells have it."""
    return _flagged(_rows(frame))


def _failures(rows: Sequence[Row]) -> list[str]:
    absent = unavailable_everywhere(rows)
    reasons: dict[str, str] = {}
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if row["backend"] in absent:
            reasons.setdefault(row["backend"], row["reason"])
        elif not is_ok(row):
            found.setdefault((row["backend"], row["status"], row["reason"]), []).append(row["case"])
    total = _cases(rows)
    told = [f"Unavailable here: {'; '.join(f'{backend}: {why}' for backend, why in reasons.items())}."]
    return (told if reasons else []) + [
        f"{backend}, {where(cases, total)}: {status}: {reason}" for (backend, status, reason), cases in found.items()
    ]


def _ran_math(rows: Sequence[Row]) -> list[str]:
    math_cells = [row for row in rows if row["kernel"].startswith(_MATH)]
    return [f"{who}: ran torch's unfused math kernel." for who in _who(math_cells, _cases(rows))]


def _flagged(rows: Sequence[Row]) -> list[str]:
    found = []
    ok = list(filter(is_ok, rows))
    for flag, meaning in _MEANING.items():
        cells = [row for row in ok if flag in row["flags"].split()]
        if len(cells) == len(ok) > 1:
            found.append(f"{flag}, every cell: {meaning}.")
        elif cells:
            who = (
                "; ".join(_who(cells, _cases(ok))) if len(cells) <= _MOST_NAMED else f"{len(cells)} of {len(ok)} cells"
            )
            found.append(f"{flag}, {who}: {meaning}.")
    return found


def other_patterns(frame: pd.DataFrame, baseline: str | None) -> list[str]:
    """Which backends compute other windows than the baseline, and therefore have no speed-up."""
    return _other_patterns(_rows(frame), baseline)


def _other_patterns(rows: Sequence[Row], baseline: str | None) -> list[str]:
    by_pattern: dict[str, list[tuple[str, str]]] = {}
    by_case: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        by_case.setdefault(row["case"], []).append((row["backend"], pattern_of(row)))
    for case, patterns in by_case.items():
        usual = dict(patterns).get(baseline or "") or Counter(pattern for _, pattern in patterns).most_common(1)[0][0]
        for backend, pattern in patterns:
            if pattern != usual:
                by_pattern.setdefault(pattern, []).append((backend, case))
    found = []
    for pattern, who in by_pattern.items():
        backends, cases = (list(dict.fromkeys(names)) for names in zip(*who, strict=True))
        verb, pronoun = ("computes", "it has") if len(backends) == 1 else ("compute", "they have")
        found.append(
            f"{enumerate_names(backends)} {verb} {pattern} windows {where(cases, len(by_case))}: another function than "
            f"the others', so {pronoun} no speed-up there."
        )
    return found


def _without_baseline(rows: Sequence[Row], baseline: str | None) -> list[str]:
    if baseline is None:
        return ["No speed-ups: there is no baseline (give --baseline)."]
    if all(row["backend"] != baseline for row in rows):
        return [f"No speed-ups: the baseline {baseline} is not among these cells (give --baseline)."]
    measured = {row["case"] for row in rows if row["backend"] == baseline and is_ok(row)}
    lacking = list(dict.fromkeys(row["case"] for row in rows if row["case"] not in measured))
    if not lacking:
        return []
    return [f"No speed-ups {where(lacking, _cases(rows))}: the baseline {baseline} was not measured there."]


def _who(cells: Sequence[Row], cases: int) -> list[str]:
    """Backends and their cases, of so many; backends with the same cases together."""
    by_backend: dict[str, list[str]] = {}
    for row in cells:
        by_backend.setdefault(row["backend"], []).append(row["case"])
    by_place: dict[str, list[str]] = {}
    for backend, found in by_backend.items():
        by_place.setdefault(where(found, cases), []).append(backend)
    return [f"{enumerate_names(backends)}, {place}" for place, backends in by_place.items()]


def _cases(rows: Sequence[Row]) -> int:
    return len({row["case"] for row in rows})


def where(cases: Sequence[str], total: int) -> str:
    """In which of ``total`` cases, in words."""
    if len(set(cases)) == total:
        return "in every case" if total > 1 else "in the one case"
    if len(cases) > _MOST_NAMED:
        return f"in {len(cases)} of {total} cases"
    return "in " + enumerate_names([f'"{case}"' for case in cases])
