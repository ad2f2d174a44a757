"""JUnit XML: a test case per cell.

What is slower or wrong is a failure, what died is an error, and what could not be measured, or is in one of two runs
alone, is skipped: it never passes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from attnbench.comparison.verdict import CellVerdict, Comparison, Verdict
from attnbench.core.record import Status
from attnbench.exports.escaping import legal
from attnbench.exports.results import UNFIT, Subject, cells
from attnbench.exports.wording import change, facts
from attnbench.report.numbers import missing

_DIED = (Status.OOM, Status.TIMEOUT, Status.CRASHED, Status.ERROR)
_MOST_DIFFERENCES = 8
_NUMBERS = ("latency_ms", "latency_low_ms", "latency_high_ms", "images_per_s", "peak_bytes", "flags", "kernel")


class _Result(StrEnum):
    PASSED = "passed"
    FAILURE = "failure"
    ERROR = "error"
    SKIPPED = "skipped"


_ELEMENTS = {_Result.FAILURE: Failure, _Result.ERROR: Error, _Result.SKIPPED: Skipped}


@dataclass(frozen=True, kw_only=True)
class _Entry:
    case: str
    backend: str
    result: _Result
    kind: str = ""
    """Verdict or status, for readers that group by it."""
    message: str = ""
    latency_ms: float | None = None
    output: str = ""
    context: str = ""
    """What a reader of this one failure must know of the rest."""


class _Seconds(float):
    """Written as an XML decimal, which knows no exponent."""

    def __str__(self) -> str:
        return f"{self:.9f}"


def render(subject: Subject) -> str:
    """The document: of the comparison, or of a run alone."""
    if subject.comparison is not None:
        entries = [_of_verdict(cell, subject.comparison) for cell in subject.comparison.cells]
    else:
        assert subject.run is not None
        entries = [*map(_of_row, subject.run.table.to_dict("records")), *_of_unreached(subject)]
    suite = TestSuite(legal(f"attnbench {subject.suite}"))
    _describe(suite, subject)
    suite.add_testcases([_element(entry, subject.suite) for entry in entries])
    document = JUnitXml("attnbench")
    document.add_testsuite(suite)
    document.update_statistics()  # type: ignore[no-untyped-call]
    # The library rounds sums to milliseconds, of which many a call takes none.
    suite.time = document.time = _Seconds(sum(entry.latency_ms or 0 for entry in entries) / 1e3)
    buffer = io.BytesIO()
    document.write(buffer)
    # Elements on lines of their own, for people; "<" is markup wherever it stands.
    return buffer.getvalue().decode().replace("><", ">\n<") + "\n"


def _describe(suite: TestSuite, subject: Subject) -> None:
    properties = {"headline": subject.headline, "summary": subject.summary}
    if subject.run is not None and subject.run.environment:
        environment = subject.run.environment
        suite.hostname = legal(environment["machine"])
        suite.timestamp = environment["started_at"][:19]
        properties |= {"torch": environment["torch"], "device": environment["device"]}
    if subject.comparison is not None:
        comparison = subject.comparison
        properties |= {"base": comparison.base, "candidate": comparison.candidate, "method": comparison.method}
        properties |= {"fails_above": str(comparison.fail_above)}
        properties |= (
            {"min_detectable_ratio": str(comparison.min_detectable_ratio)}
            if comparison.min_detectable_ratio is not None
            else {}
        )
        properties |= {"environment_changes": "; ".join(comparison.differences)}
        properties |= {
            "fingerprint_mismatch": "; ".join(comparison.fingerprint_mismatch),
            "notes": " ".join(comparison.notes),
        }
    for name, value in properties.items():
        if value:
            suite.add_property(name, legal(value))


def _element(entry: _Entry, suite: str) -> TestCase:
    case = TestCase(legal(entry.backend), legal(f"{suite}.{entry.case}"))
    case.time = _Seconds((entry.latency_ms or 0) / 1e3)
    if entry.result is not _Result.PASSED:
        element = _ELEMENTS[entry.result](legal(entry.message), entry.kind)
        said = (f"{entry.case}, {entry.backend}: {entry.message}", entry.context)
        element.text = legal("\n".join(filter(None, said)))
        case.result = element
    if entry.output:
        case.system_out = legal(entry.output)
    return case


def _of_verdict(cell: CellVerdict, comparison: Comparison) -> _Entry:
    result = _judged(cell)
    return _Entry(
        case=cell.case,
        backend=cell.backend,
        result=result,
        kind=cell.verdict,
        message=f"{cell.verdict}: {change(cell)}",
        context=_context(comparison),
        latency_ms=cell.candidate_ms,
        output=facts(cell, fail_above=comparison.fail_above),
    )


def _context(comparison: Comparison) -> str:
    changed = "; ".join(comparison.differences[:_MOST_DIFFERENCES]) or "nothing that is known"
    return (
        f"{comparison.candidate} against {comparison.base}, judged {comparison.method}.\n"
        f"What changed in the environment: {changed}."
    )


def _judged(cell: CellVerdict) -> _Result:
    if cell.verdict is Verdict.BROKEN and cell.candidate_status in _DIED:
        return _Result.ERROR
    if cell.verdict.fails:
        return _Result.FAILURE
    uncompared = cell.verdict in (Verdict.ADDED, Verdict.REMOVED, Verdict.INCONCLUSIVE) and cell.ratio is None
    return _Result.SKIPPED if uncompared or cell.candidate_ms is None else _Result.PASSED


def _of_row(row: Mapping[Any, Any]) -> _Entry:
    status = Status(row["status"])
    entry = {"case": row["case"], "backend": row["backend"], "kind": str(status)}
    if status is not Status.OK:
        result = _Result.ERROR if status in _DIED else _Result.SKIPPED if status in UNFIT else _Result.FAILURE
        return _Entry(**entry, result=result, message=f"{status}: {row['reason']}")
    known = {name: row[name] for name in _NUMBERS if not missing(row[name]) and row[name] != ""}
    output = "\n".join(f"{name}: {value}" for name, value in known.items())
    return _Entry(**entry, result=_Result.PASSED, latency_ms=row["latency_ms"], output=output)


def _of_unreached(subject: Subject) -> Iterator[_Entry]:
    if subject.unreached:
        message = f"{cells(subject.unreached)} not reached: the run was cut short"
        yield _Entry(case="whole suite", backend="every cell", result=_Result.ERROR, kind="unreached", message=message)
