"""JUnit XML: a test case per cell.

Slower or wrong cells are failures, cells whose process died are errors. Cells that could not be measured, or are in one
of two runs alone, are skipped: they never pass.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from junitparser.junitparser import FinalResult

from attnbench.comparison.definitions import CellVerdict, Comparison, Verdict
from attnbench.core.escaping import legal
from attnbench.core.record import Status
from attnbench.core.text import plural
from attnbench.exports.places import CodePlace, place_of
from attnbench.exports.results import ComparisonResults, Results, RunResults
from attnbench.exports.text import change
from attnbench.results.rows import missing

_DIED = (Status.OOM, Status.TIMEOUT, Status.CRASHED, Status.ERROR)
_MOST_DIFFERENCES = 8
_NUMBERS = ("latency_ms", "latency_low_ms", "latency_high_ms", "images_per_s", "peak_bytes", "flags", "kernel")


class _Seconds(float):
    """Written as a decimal of three digits: Jenkins' schema allows no more. What was measured stands in system-out."""

    def __str__(self) -> str:
        return f"{self:.3f}"


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A test case, and the line of code where it failed."""

    element: TestCase
    place: CodePlace | None


def render(results: Results) -> str:
    """The document as text."""
    match results:
        case RunResults():
            cases = list(_cases_of_run(results))
        case ComparisonResults():
            cases = list(_cases_of_comparison(results))
    return document_text([_suite(results, file, list(group)) for file, group in _by_file(cases)])


def render_error(sentence: str, *, skipped: bool) -> str:
    """A document of one test case: why nothing was measured or judged.

    Args:
        sentence: Why.
        skipped: Whether there was nothing to compare with, which is no error.
    """
    result = Skipped(legal(sentence), "skipped") if skipped else Error(legal(sentence), "error")
    suite = TestSuite("attnbench")
    suite.add_testcase(_case("attnbench", "whole suite", "every cell", result=result).element)
    return document_text([suite])


def _by_file(cases: Sequence[_Case]) -> Iterator[tuple[str, Iterator[TestCase]]]:
    """Test cases by the file that their failure names; those without one first, also where there is none."""
    files = dict.fromkeys(["", *(case.place.file for case in cases if case.place)])
    for file in files:
        group = [case.element for case in cases if (case.place.file if case.place else "") == file]
        if group or len(files) == 1:
            yield file, iter(group)


def _suite(results: Results, file: str, cases: Sequence[TestCase]) -> TestSuite:
    """A test suite; its file stands here, because Jenkins' schema allows none on a test case."""
    # Suites of one name would be merged by the library.
    suite = TestSuite(legal(", ".join(filter(None, (f"attnbench {results.suite}", file)))))
    if file:
        suite._elem.set("file", legal(file))  # noqa: SLF001 - the library has no such attribute
    if environment := results.run.environment:
        suite.hostname = legal(environment["machine"])
        suite.timestamp = environment["started_at"][:19]
    for name, value in _properties(results).items():
        if value:
            suite.add_property(name, legal(value))
    suite.add_testcases(list(cases))
    return suite


def document_text(suites: Sequence[TestSuite]) -> str:
    """A document of test suites."""
    document = JUnitXml("attnbench")
    for suite in suites:
        document.add_testsuite(suite)
    document.update_statistics()  # type: ignore[no-untyped-call]
    # The library rounds sums to milliseconds; many calls take less than one.
    for suite in suites:
        suite.time = _Seconds(sum(case.time or 0 for case in suite))
    document.time = _Seconds(sum(suite.time for suite in suites))
    document._elem.attrib.pop("skipped", None)  # noqa: SLF001 - Jenkins' schema has it on suites alone
    buffer = io.BytesIO()
    document.write(buffer)
    # An element per line, for people; "<" is always escaped in text.
    return buffer.getvalue().decode().replace("><", ">\n<") + "\n"


def _properties(results: Results) -> dict[str, str]:
    found = {"headline": results.headline, "summary": results.summary}
    found |= {name: results.run.environment.get(name, "") for name in ("torch", "device")}
    if isinstance(results, ComparisonResults):
        comparison = results.comparison
        found |= {
            "base": comparison.base,
            "candidate": comparison.candidate,
            "method": comparison.method,
            "fails_above": str(comparison.fail_above),
            "min_detectable_ratio": str(comparison.min_detectable_ratio or ""),
            "environment_changes": "; ".join(comparison.differences),
            "fingerprint_mismatch": "; ".join(comparison.fingerprint_mismatch),
            "notes": " ".join(comparison.notes),
        }
    return found


def _cases_of_run(results: RunResults) -> Iterator[_Case]:
    for row in results.run.rows:
        status, name = Status(row["status"]), (results.suite, row["case"], row["backend"])
        if status is Status.OK:
            output = _lines({name: row[name] for name in _NUMBERS if not missing(row[name])})
            yield _case(*name, latency_ms=row["latency_ms"], output=output)
        else:
            kind = Error if status in _DIED else Failure if status.tried else Skipped
            yield _case(*name, result=kind(row["reason"], status), place=place_of(row["reason"]))
    if more := results.run.unreached:
        result = Error(f"{plural(more, 'cell')} not reached: the run was interrupted", "unreached")
        yield _case(results.suite, "whole suite", "every cell", result=result)


def _cases_of_comparison(results: ComparisonResults) -> Iterator[_Case]:
    comparison = results.comparison
    changed = "; ".join(comparison.differences[:_MOST_DIFFERENCES]) or "nothing known"
    context = (
        f"{comparison.candidate} against {comparison.base}, judged {comparison.method}.\n"
        f"What changed in the environment: {changed}."
    )
    for cell in comparison.cells:
        yield _case(
            results.suite,
            cell.case,
            cell.backend,
            latency_ms=cell.candidate_ms,
            result=_result(cell, comparison),
            place=place_of(cell.reason),
            context=context,
            output=_lines(_facts(cell, comparison)),
        )


def _result(cell: CellVerdict, comparison: Comparison) -> FinalResult | None:
    """None where the cell passes."""
    # Readers put the type, which is the verdict, before the message.
    message = "; ".join(filter(None, (change(cell), cell.limit)))
    if comparison.fails(cell):
        died = cell.verdict is not Verdict.REGRESSED and cell.candidate_status in _DIED
        return (Error if died else Failure)(message, cell.verdict)
    not_compared = cell.verdict in (Verdict.ADDED, Verdict.REMOVED, Verdict.INCONCLUSIVE) and cell.ratio is None
    return Skipped(message, cell.verdict) if not_compared or cell.candidate_ms is None else None


def _facts(cell: CellVerdict, comparison: Comparison) -> dict[str, Any]:
    """By name, everything known of a cell besides its name, unrounded."""
    facts = {**asdict(cell), "fails_above": comparison.fail_above}
    ratio = facts.pop("ratio") or dict.fromkeys(("value", "low", "high"))
    facts |= {"ratio": ratio["value"], "ratio_low": ratio["low"], "ratio_high": ratio["high"]}
    return {name: value for name, value in facts.items() if name not in ("case", "backend")}


def _lines(facts: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in facts.items() if value is not None and value != "")


def _case(
    suite: str,
    case: str,
    backend: str,
    *,
    latency_ms: float | None = None,
    result: FinalResult | None = None,
    place: CodePlace | None = None,
    context: str = "",
    output: str = "",
) -> _Case:
    """A test case; ``context`` is what a reader of this one failure must know about the whole comparison."""
    element = TestCase(legal(backend), legal(f"{suite}.{case}"))
    element.time = _Seconds((latency_ms or 0) / 1e3)
    if result is not None:
        result.message = legal(result.message)
        said = f"{case}, {backend}: {result.type}: {result.message}"
        where = "" if place is None else f"  at {place}"
        result.text = legal("\n".join(filter(None, (said, where, context))))
        element.result = result
    if output:
        element.system_out = legal(output)
    return _Case(element=element, place=place if result is not None else None)
