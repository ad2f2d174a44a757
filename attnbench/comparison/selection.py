"""Which stored runs a candidate may be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attnbench.core.errors import NotComparableError
from attnbench.core.record import fingerprint_mismatch
from attnbench.core.text import plural
from attnbench.results.store import StoredRun, find_runs, is_run

_PROCESSOR = ("cpu_name", "cores")
"""What may differ between hosted runners that are asked for alike."""


@dataclass(frozen=True, kw_only=True)
class BaseRuns:
    """Base runs, and notes on those left out."""

    runs: tuple[StoredRun, ...]
    notes: tuple[str, ...] = ()


def gather(paths: Sequence[Path], candidate: StoredRun, *, relative: bool = False) -> BaseRuns:
    """The base runs at some paths. Of a directory of runs, those the candidate can be compared with.

    Args:
        paths: Of runs, their tables, or directories of runs.
        candidate: What is to be compared with them.
        relative: Whether runs of other processors count.

    Raises:
        StoredRunError: There is no run, or one is damaged.
        NotComparableError: A directory holds runs, but none that can be compared.
    """
    runs: list[StoredRun] = []
    notes: list[str] = []
    for path in paths:
        found = find_runs(path, but=candidate.path)
        selected = (
            BaseRuns(runs=found.runs)
            if is_run(path)
            else select(found.runs, candidate, of=str(path), relative=relative)
        )
        runs += selected.runs
        notes += [*found.notes, *selected.notes]
    return BaseRuns(runs=tuple(runs), notes=tuple(notes))


def select(found: Sequence[StoredRun], candidate: StoredRun, *, of: str, relative: bool = False) -> BaseRuns:
    """Complete runs of the candidate's suite and fingerprint, each once, without the candidate itself.

    Args:
        found: Oldest first.
        candidate: What is to be compared with them.
        of: What holds them, for messages.
        relative: Whether runs of other processors count.

    Raises:
        NotComparableError: There is none.
    """
    same_suite = [run for run in found if suites_of(run) & suites_of(candidate)]
    comparable = [run for run in same_suite if not mismatch(run, candidate, relative=relative)]
    others = {run.identity: run for run in comparable if run.identity != candidate.identity}
    complete = [
        run for run in others.values() if not run.table.empty and not run.incomplete and _has_anchors(run, candidate)
    ]
    if not complete:
        if not found:
            why = "it is empty"
        elif not same_suite:
            why = f"the newest is of {suite_of(found[-1])}, not {suite_of(candidate)}"
        elif not comparable:
            fields = mismatch(same_suite[-1], candidate, relative=relative)
            why = f"the newest was not measured alike: {'; '.join(fields)}"
        else:
            why = "it holds only this run" if not others else "every other run is incomplete"
        raise NotComparableError(f"{of} holds no run that {candidate.path} can be compared with: {why}")
    notes = []
    if left := len(found) - len(comparable):
        notes.append(f"Left out {plural(left, 'run')} of other suites or machines in {of}.")
    if left := len(others) - len(complete):
        notes.append(f"Left out {plural(left, 'incomplete run')} in {of}.")
    return BaseRuns(runs=tuple(complete), notes=tuple(notes))


def mismatch(before: StoredRun, after: StoredRun, *, relative: bool = False) -> list[str]:
    """Fields of the fingerprint that differ; tables kept without an environment have none.

    Args:
        before: A base run.
        after: The candidate.
        relative: Whether the processor may differ.
    """
    prints = [dict(run.environment.get("fingerprint", {})) for run in (before, after)]
    if relative:
        on_cpu = after.environment.get("device") == "cpu"
        for one in prints:
            for name in (*_PROCESSOR, *(["device_name"] if on_cpu else [])):
                one.pop(name, None)
    return fingerprint_mismatch(*prints)


def suites_of(run: StoredRun) -> set[str]:
    """The suites that a table is of: one, unless it was put together by hand."""
    return set(map(str, run.table["suite"].unique()))


def suite_of(run: StoredRun) -> str:
    """The same for messages."""
    return f"suite {', '.join(sorted(suites_of(run)))}"


def _has_anchors(run: StoredRun, candidate: StoredRun) -> bool:
    """Whether a run that was killed in its last moments lacks what the candidate has."""
    return bool(run.environment.get("ceilings")) or not candidate.environment.get("ceilings")
