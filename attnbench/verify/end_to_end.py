"""Checks of the whole way from a suite to a verdict: runs and an A/B of backends whose behaviour is known."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from attnbench.backends import registry
from attnbench.core.errors import InterruptedRunError
from attnbench.core.record import Launch, Status
from attnbench.core.verification import Figure
from attnbench.results.pairs import BASE, CANDIDATE
from attnbench.results.rows import rows_of
from attnbench.suite.expansion import Suite, load_suite

if TYPE_CHECKING:
    from attnbench.comparison.definitions import CellVerdict
    from attnbench.run.session import Session

_SUBJECTS = "attnbench.worker.verification.subjects"
KNOWN_MS, SLOWER = 5.0, 1.05
LEFT_BEHIND = "attnbench-verify-left-behind"
"""As ``subjects`` has them: it needs torch, which this process never imports."""
_TIME_IS = 0.03
"""What a known time may be measured wrong by."""
_ALIKE = 0.1
"""What two equal backends may differ by on a busy machine, as long as ``ab`` does not call it a change."""
_ENDS = {
    "Subject": Status.OK,
    "Raises": Status.ERROR,
    "Crashes": Status.CRASHED,
    "Hangs": Status.TIMEOUT,
    "AllocatesTooMuch": Status.OOM,
    "IsWrong": Status.WRONG_RESULT,
    "Remembers": Status.WRONG_RESULT,
    "LeavesAProcess": Status.OK,
}
"""How the cells of subjects must end."""
_GPU_ENDS = {"IndexesOutOfRange": Status.ERROR}
_CASE = {"batch": 1, "resolution": 7, "window": 7, "heads": 1, "head_dim": 32, "scope": "windows"}
_TIMEOUT_S = 10.0
_ROUNDS_AT_ONCE, _MOST_ROUNDS = 5, 20
_SLOWER_CELL = 0


def known_time_and_faults(device: str, directory: Path) -> Iterator[Figure]:
    """A run of backends that take a known time or fail, beside one that works."""
    ends = _ENDS | (_GPU_ENDS if device.startswith("cuda") else {})
    backends = [f"{_SUBJECTS}:{name}" for name in ("KnownTime", *ends)]
    limits = dict.fromkeys(("timeout_s", "prepare_timeout_s", "hung_timeout_s"), _TIMEOUT_S)
    suite = _suite("verify", device, backends, directory, {"processes": 1, "max_time_s": 0.5, **limits})
    table = _run(suite, directory / "run")
    rows = {str(row["backend"]).rpartition(":")[2]: row for row in table}
    known = rows.pop("KnownTime")
    yield Figure(
        check="known time",
        # The fastest sample: others on the machine stretch all the rest, and are flagged for it.
        of=f"a call of {KNOWN_MS:g} ms, its fastest sample",
        value=known["latency_min_ms"] / KNOWN_MS if known["status"] == Status.OK else None,
        least=1 - _TIME_IS,
        most=1 + _TIME_IS,
        broken="" if known["status"] == Status.OK else f"{known['status']}: {known['reason']}",
    )
    right = {name: rows[name]["status"] == end for name, end in ends.items()}
    yield Figure(
        check="faults",
        of=f"{len(ends) - 2} backends that fail, each in its own way, beside two that work",
        value=float(sum(right.values())),
        least=len(ends),
        broken="; ".join(
            f"{name} ended as {rows[name]['status']}, not {ends[name]}" for name, fits in right.items() if not fits
        ),
    )
    left = _left_behind()
    yield Figure(check="leftovers", of="a process that left its session", value=float(len(left)), most=0.0)
    for process in left:
        process.kill()


def graph_capture(device: str, directory: Path) -> Iterator[Figure]:
    """On a GPU: what no CUDA graph can hold is ``unsupported``, and its neighbour is measured."""
    backends = [f"{_SUBJECTS}:{name}" for name in ("Subject", "WaitsForTheDevice")]
    measure = {"processes": 1, "max_time_s": 0.1, "launch": Launch.GRAPH.value}
    rows = _run(_suite("verify-graph", device, backends, directory, measure), directory / "graph")
    found = [str(row["status"]) for row in rows]
    right = found == [Status.OK, Status.UNSUPPORTED]
    yield Figure(
        check="faults", of="a backend that waits for the device, as a CUDA graph", value=float(right), least=1.0,
        broken="" if right else f"ended as {', '.join(found)}",
    )  # fmt: skip


def pairs(device: str, directory: Path) -> Iterator[Figure]:
    """An A/B of a backend beside one that takes 5 % longer, and of one beside itself."""
    from attnbench.comparison.ab import judge, undecided
    from attnbench.comparison.limits import Limits
    from attnbench.comparison.pairs import read_pairs
    from attnbench.run.runner import open_pairs
    from attnbench.run.sides import Side

    names = {BASE: ["KnownTime", "Subject"], CANDIDATE: ["Slower", "Subject"]}  # the slower one is _SLOWER_CELL
    measure = {"processes": _ROUNDS_AT_ONCE, "max_time_s": 0.4}
    sides = {
        side: Side(
            name=side,
            suite=_suite(f"verify-{side}", device, [f"{_SUBJECTS}:{one}" for one in subjects], directory, measure),
            known_backends=tuple(registry.names()),
        )
        for side, subjects in names.items()
    }
    where = directory / "pairs"
    with open_pairs(sides, kind="ab", max_rounds=_MOST_ROUNDS, output=where) as session:
        for first in range(0, _MOST_ROUNDS, _ROUNDS_AT_ONCE):
            _measured(session, range(first, first + _ROUNDS_AT_ONCE))
            session.finish()
            if all(cell != _SLOWER_CELL for _, cell in undecided(read_pairs(where), Limits())):
                break
    cells = {cell.backend: cell for cell in judge(read_pairs(where), Limits()).cells}
    same = cells.pop(f"{_SUBJECTS}:Subject")
    (slower,) = cells.values()
    yield ratio_figure("slowdown", slower)
    yield ratio_figure("a/a", same)


def ratio_figure(check: str, cell: CellVerdict) -> Figure:
    """What ``ab`` made of a cell whose true ratio is known: ``slowdown`` or ``a/a``."""
    slower = check == "slowdown"
    right = cell.verdict.fails if slower else not cell.verdict.fails and cell.verdict != "improved"
    broken = "" if right else f"ab says {cell.verdict}"
    least, most = (SLOWER - _TIME_IS, SLOWER + _TIME_IS) if slower else (1 - _ALIKE, 1 + _ALIKE)
    value = None if cell.ratio is None else cell.ratio.value
    interval = ""
    if cell.ratio is not None and cell.ratio.low is not None and cell.ratio.high is not None:
        interval = f", 95 % interval {cell.ratio.low:.3f} to {cell.ratio.high:.3f}"
    return Figure(check=check, of=f"ab{interval}", value=value, least=least, most=most, broken=broken)


def _suite(name: str, device: str, backends: Sequence[str], directory: Path, measure: Mapping[str, Any]) -> Suite:
    content = {"name": name, "device": device, "backends": list(backends), "cases": [_CASE], "measure": dict(measure)}
    path = directory / f"{name}.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    return load_suite(path, known_backends=registry.names())


def _run(suite: Suite, output: Path) -> list[dict[str, Any]]:
    from attnbench.run.runner import open_run

    with open_run(suite, output=output) as session:
        _measured(session, session.rounds)
    (outcome,) = session.outcomes.values()
    assert outcome.stored is not None, "the tables are written when the session ends"
    return [{str(name): value for name, value in row.items()} for row in rows_of(outcome.stored.table)]


def _measured(session: Session, rounds: Sequence[int]) -> None:
    for _ in session.measure(rounds):
        pass
    if session.interrupted:
        raise InterruptedRunError("interrupted; nothing was verified")


def _left_behind() -> list[psutil.Process]:
    time.sleep(0.1)  # a killed process takes a moment to go
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        known = process.info
        if LEFT_BEHIND in (known["cmdline"] or ()) and known["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found
