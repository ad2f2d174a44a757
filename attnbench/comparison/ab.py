"""What ``ab`` says of its pairs: which cells need more rounds, and the verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from attnbench.comparison.cell_verdict import median_detectable, verdict_of, worst_first
from attnbench.comparison.definitions import CellVerdict, Comparison, Judgment, Verdict
from attnbench.comparison.limits import Limits
from attnbench.comparison.pairs import CellPair, Pairs
from attnbench.comparison.pairs_rule import MARGIN, MAX_ROUNDS, Budget, judge_cell
from attnbench.core.errors import NotComparableError, UsageError
from attnbench.core.record import Status
from attnbench.core.text import plural
from attnbench.results.pairs import BASE, CANDIDATE, Place
from attnbench.results.rows import is_ok

_NOTICED = 0.03
_OTHER_FUNCTION = "the two sides compute different functions"


def undecided(pairs: Pairs, limits: Limits) -> set[Place]:
    """Cells of which more rounds may still change the verdict."""
    judgments = _judgments(pairs, limits)
    return {
        place
        for place, cell in pairs.cells.items()
        if cell.same_function and not cell.given_up and not ((found := judgments.get(place)) and found.decided)
    }


def judge(pairs: Pairs, limits: Limits | None = None, *, anyway: bool = False) -> Comparison:
    """Compare the two sides.

    Args:
        pairs: What was measured.
        limits: What fails.
        anyway: Whether to judge an interrupted measurement, too.

    Raises:
        UsageError: It is an A/A test, or a limit names no cell.
        NotComparableError: It was interrupted.
    """
    if pairs.pairing.kind != "ab":
        raise UsageError(f"{pairs.path} is an A/A test: both sides are the same; give what attnbench ab wrote")
    if not (pairs.pairing.finished or anyway):
        raise NotComparableError(
            f"{pairs.path} was interrupted; resume it (attnbench ab, the same options, --resume {pairs.path}), "
            "or add --anyway"
        )
    limits = limits or Limits()
    limits.check((cell.key[0], cell.label) for cell in pairs.cells.values())
    judgments = _judgments(pairs, limits)
    cells = worst_first(_verdict(cell, judgments.get(place), limits) for place, cell in pairs.cells.items())
    rounds = sorted(len(cell.logs) for cell in pairs.cells.values() if cell.logs)
    spread = "" if not rounds else f"{rounds[0]}" if rounds[0] == rounds[-1] else f"{rounds[0]} to {rounds[-1]}"
    return Comparison(
        suite=str(pairs.candidate.suite.get("name", "")),
        device=str(pairs.candidate.environment.get("device_name", "")),
        base=pairs.name_of(BASE),
        candidate=pairs.name_of(CANDIDATE),
        method=f"by {spread or 'no'} pairs of fresh processes in turn, of at most {_budget(pairs).max_rounds}",
        cells=cells,
        fail_above=1 + (MARGIN if limits.fail_above is None else limits.fail_above),
        min_detectable_ratio=median_detectable(cells),
        differences=pairs.differences(),
        notes=tuple(_notes(pairs, cells)),
        not_compared_reason="" if any(cell.compared for cell in cells) else _not_compared(pairs),
    )


def _budget(pairs: Pairs) -> Budget:
    return Budget(
        cells=max(1, sum(cell.same_function for cell in pairs.cells.values())),
        max_rounds=pairs.pairing.max_rounds or MAX_ROUNDS,
    )


def _judgments(pairs: Pairs, limits: Limits) -> dict[Place, Judgment]:
    budget, rounds = _budget(pairs), pairs.rounds
    found = {}
    for place, cell in pairs.cells.items():
        margin = limits.of(cell.key[0], cell.label, default=MARGIN)
        if judgment := judge_cell(cell.logs, budget, rounds=rounds, margin=margin, means=cell.mean_logs):
            found[place] = judgment
    return found


def _verdict(pair: CellPair, judgment: Judgment | None, limits: Limits) -> CellVerdict:
    """The verdict on a cell, given that on its latencies if there is one."""
    key = (pair.key[0], pair.label)
    past = [pair.base.row] if pair.base else []
    row = pair.candidate.row if pair.candidate else None
    margin, flaky = limits.of(*key, default=MARGIN), limits.sets_aside(*key)
    if pair.measured and not pair.same_function:
        cell = verdict_of(key, past, row, None, margin=margin, flaky=flaky, kernels=False)
        return replace(cell, verdict=Verdict.INCONCLUSIVE, reason=_OTHER_FUNCTION)
    cell = verdict_of(
        key, past, row, judgment, margin=margin, flaky=flaky, kernels=pair.backends[0] == pair.backends[1]
    )
    if pair.measured is None:
        return cell
    base, candidate = pair.measured
    if judgment is not None:
        base_ms, candidate_ms = pair.latencies_ms
        cell = replace(cell, base_ms=base_ms, candidate_ms=candidate_ms)
    if candidate.failures and candidate.given_up:
        return replace(
            cell, verdict=Verdict.BROKEN, reason=candidate.failed, candidate_status=candidate.failures[0].status,
            candidate_ms=None, ratio=None, p_value=None, candidate_peak_bytes=None, candidate_kernel="", limit="",
        )  # fmt: skip
    if candidate.failures:
        verdict = cell.verdict if cell.verdict.fails else Verdict.SUSPECT
        return replace(cell, verdict=verdict, reason="; ".join(filter(None, (candidate.failed, cell.reason))))
    if base.failures and not cell.verdict.fails:
        return replace(cell, reason="; ".join(filter(None, (f"the base {base.failed}", cell.reason))))
    return cell


def _notes(pairs: Pairs, cells: Sequence[CellVerdict]) -> list[str]:
    notes = []
    if not pairs.pairing.finished:
        notes.append("The measurement was interrupted, and is judged by what there is.")
    if not pairs.differences():
        notes.append("The two sides do not differ in anything that is recorded.")
    if all(party.own_backends == 0 for party in pairs.pairing.parties.values()):
        notes.append(
            "No backend was imported from either directory: unless a package that one uses lies there, both sides are "
            "the same code (name your backend in the suite, as module:Class)."
        )
    if any(map(_differs, cells)):
        notes.append(
            "A ratio is of turns beside one another, the median of its rounds; the ms are means of either side. On a "
            "busy machine their quotient differs from it."
        )
    unavailable = [
        cell.base.row["reason"]
        for cell in pairs.cells.values()
        if cell.base and cell.base.row["status"] == Status.UNAVAILABLE and cell.candidate and is_ok(cell.candidate.row)
    ]
    if unavailable:
        notes.append(
            f"The base cannot run {plural(len(unavailable), 'cell')}, so they are not compared: {unavailable[0]}."
        )
    return notes


def _differs(cell: CellVerdict) -> bool:
    """Whether the ratio of a cell's latencies is another one than that of its pairs, as far as anybody would notice."""
    if cell.ratio is None or cell.base_ms is None or cell.candidate_ms is None:
        return False
    return abs(math.log(cell.candidate_ms / cell.base_ms / cell.ratio.value)) > _NOTICED


def _not_compared(pairs: Pairs) -> str:
    measured = [cell for cell in pairs.cells.values() if cell.measured]
    if not measured:
        why = "no cell was measured on both sides"
    elif any(cell.same_function for cell in measured):
        why = "fewer than two pairs are complete"
    else:
        why = _OTHER_FUNCTION
    return f"nothing can be compared: {why} ({pairs.path})"
