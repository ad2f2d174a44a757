"""The answer in words: what to use, where it loses, how sure that is, and what was not measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from attnbench.analysis.ranking import Certainty, Contest, Overall, overall, share_within
from attnbench.analysis.sweeps import Crossover
from attnbench.core.files import read
from attnbench.core.problem import Problem
from attnbench.core.record import Flag
from attnbench.core.text import plural
from attnbench.report.charts.answers import lead_text
from attnbench.report.layout import enumerate_names
from attnbench.report.numbers import NOTHING, interval_of, optional, ratio_of_times, rounded
from attnbench.results.rows import latency_of
from attnbench.results.table import PROBLEM

_PATTERN = PROBLEM.index("pattern")
NEAR = 1.1
"""A backend within this factor of the fastest is as good in practice."""
_MOST_TIED = 2
_MOST_CROSSINGS = 5


BACKENDS = (
    "backend", "times the fastest", "at worst", "within 10 %", "sure wins", "best or tied", "measured", "kernel",
)  # fmt: skip
"""The headings of the table of backends."""
_CASES = ("case", "use", "how sure", "latency ms (95 %)", "next, surely slower", "problem", "flags")
_CASE, _PROBLEM = map(_CASES.index, ("case", "problem"))


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of a table for people, and what it is sorted by."""

    texts: tuple[str, ...]
    keys: tuple[float | str, ...]

    def only(self, places: Sequence[int]) -> Line:
        """Some of its columns."""
        return Line(texts=tuple(self.texts[one] for one in places), keys=tuple(self.keys[one] for one in places))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What stands at the top of a page."""

    headline: str
    sentences: tuple[str, ...]
    backends: tuple[Line, ...] = ()
    """With the headings ``BACKENDS``."""
    case_headers: tuple[str, ...] = ()
    cases: tuple[Line, ...] = ()
    """With the headings ``case_headers``."""


def answer(found: Sequence[Contest], crossings: Sequence[Crossover]) -> Answer:
    """The answer of one run."""
    order = overall(found)
    decided = [contest for contest in found if len(contest.standings) > 1]
    contested = {contest.case for contest in decided}
    shown = [contest for contest in found if not _stands_aside(contest, contested)]
    of_case = Counter(contest.case for contest in shown)
    if not decided:
        measured = list(dict.fromkeys(standing.backend for contest in found for standing in contest.standings))
        headline = f"Only {enumerate_names(measured)} was measured" if measured else "No backend was measured"
        if len(measured) > 1:
            headline = "No two backends computed the same function"
        sentences: tuple[str, ...] = ("There is nothing to compare.",)
    else:
        headline = f"Use {order[0].backend}"
        sentences = (
            *_of_best(order[0], found),
            *_of_equals(order),
            *_of_contests(decided),
            *_of_crossings(crossings),
            *_of_noise(found),
        )
    lines = [_case_line(contest, several=of_case[contest.case] > 1) for contest in shown]
    # A case without a name of its own is called as its problem.
    named = any(line.texts[_CASE] != line.texts[_PROBLEM] for line in lines)
    kept = [place for place in range(len(_CASES)) if named or place != _PROBLEM]
    kernels = _kernels(found)
    return Answer(
        headline=headline,
        sentences=sentences,
        backends=tuple(_backend_line(one, found, ", ".join(kernels.get(one.backend, ()))) for one in order),
        case_headers=tuple(_CASES[place] for place in kept),
        cases=tuple(line.only(kept) for line in lines),
    )


def _kernels(found: Sequence[Contest]) -> dict[str, dict[str, None]]:
    """By backend, the operators that ran, each once."""
    kernels: dict[str, dict[str, None]] = {}
    for contest in found:
        for standing in contest.standings:
            if standing.row["kernel"]:
                kernels.setdefault(standing.backend, {})[standing.row["kernel"].partition(" ")[0]] = None
    return kernels


def _stands_aside(contest: Contest, contested: Collection[str]) -> bool:
    """Whether a backend computed another function by itself, beside others that can be compared; notes say so."""
    return len(contest.standings) < 2 and contest.case in contested  # noqa: PLR2004 - nothing to compare with


def _of_best(best: Overall, found: Sequence[Contest]) -> list[str]:
    share = share_within(found, best.backend, NEAR) or 0.0
    average = "" if best.contests == 1 else " in the geometric mean"
    told = (
        f"{_all_of(best.contests)} {best.backend}: it takes {optional(best.times_best)}x the time of the fastest"
        f"{average}, is within {100 * (NEAR - 1):.0f} % of it in {100 * share:.0f} % of the cases, and the fastest or "
        f"tied with it in {best.best}."
    )
    sentences = [told]
    if best.worst is not None and best.worst.times_best.value > NEAR and not best.worst.tied:
        ratio = best.worst.times_best
        sentences.append(
            f'It loses most in "{best.worst_case}": {rounded(ratio.value, ratio.uncertainty)}x the time of the fastest.'
        )
    if best.measured < best.contests:
        sentences.append(f"It could not be measured in {plural(best.contests - best.measured, 'case')}.")
    return sentences


def _all_of(cases: int) -> str:
    return "In the one case, take" if cases == 1 else f"If it is to be one backend for all {cases} cases, take"


def _of_equals(order: Sequence[Overall]) -> list[str]:
    """Backends that are nowhere surely slower than the fastest, like the first."""
    best, *others = order
    equal = [one.backend for one in others if one.best == one.contests == best.best == best.contests]
    if not equal:
        return []
    return [f"{enumerate_names(equal)} cannot be told from it anywhere: more processes would (--rigorous)."]


def _of_contests(decided: Sequence[Contest]) -> list[str]:
    kinds = Counter(contest.certainty for contest in decided)
    if kinds[Certainty.UNKNOWN]:
        where = f"{kinds[Certainty.UNKNOWN]} of {plural(len(decided), 'case')}"
        return [f"How sure this is cannot be told in {where}: one process gives no intervals (measure.processes)."]
    wins = Counter(c.winners[0].backend for c in decided if c.certainty is Certainty.CLEAR)
    ties = kinds[Certainty.TIE]
    if not wins:
        interval = "the 95 % interval of another backend's latency over that of the fastest contains 1"
        return [f"No case has a sure winner. {plural(ties, 'tie')}: {interval}."]
    sure = enumerate_names([f"{backend} in {count}" for backend, count in wins.most_common()])
    told = (
        f"A sure winner: {sure} of {plural(len(decided), 'case')}. There, the 95 % interval of every other backend's "
        "latency over the winner's excludes 1; ratios are paired by process."
    )
    tied = f"In {plural(ties, 'more case')} the fastest ties: it cannot be told from at least one other."
    return [told, tied] if ties else [told]


def _of_crossings(crossings: Sequence[Crossover]) -> list[str]:
    told = [
        f"{one.after} overtakes {one.before} between {one.series.axis} {one.below} and {one.above}"
        + (f" ({one.series.title})." if one.series.title else ".")
        for one in crossings[:_MOST_CROSSINGS]
    ]
    more = len(crossings) - len(told)
    return [*told, f"There are {plural(more, 'more crossover')}; the charts show them."] if more else told


def _of_noise(found: Sequence[Contest]) -> list[str]:
    rows = [standing.row for contest in found for standing in contest.standings]
    flagged = Counter(flag for row in rows for flag in row["flags"].split())
    parts = [f"{flagged[flag]} {flag}" for flag in Flag if flagged[flag]]
    fewest = min((int(row["processes"]) for row in rows), default=0)
    told = f"Every cell was measured in {plural(fewest, 'fresh process')} or more."
    if not parts:
        return [told]
    told += f" Of {plural(len(rows), 'measured cell')}: {', '.join(parts)}. "
    return [told + "Flags are explained below; intervals already include how processes scatter."]


def _backend_line(one: Overall, found: Sequence[Contest], kernels: str) -> Line:
    share = share_within(found, one.backend, NEAR) or 0.0
    worst = one.worst.times_best.value if one.worst else 1e9
    counted = (f"{100 * share:.0f} %", str(one.won), str(one.best)) if one.measured else (NOTHING,) * 3
    texts = (
        one.backend,
        NOTHING if one.times_best is None else f"{optional(one.times_best)}x",
        NOTHING if one.worst is None else f"{optional(worst)}x",
        *counted,
        f"{one.measured} of {one.contests}",
        kernels or NOTHING,
    )
    keys = (one.backend, one.times_best or 1e9, worst, share, one.won, one.best, one.measured, kernels)
    return Line(texts=texts, keys=keys)


def _case_line(contest: Contest, *, several: bool) -> Line:
    best = contest.standings[0] if contest.standings else None
    flags = " ".join(dict.fromkeys(flag for standing in contest.winners for flag in standing.row["flags"].split()))
    pattern = contest.function[_PATTERN]
    problem = read(Problem, dict(zip(PROBLEM, contest.function, strict=True))).label
    latency = latency_of(best.row) if best else None
    spelled = NOTHING if latency is None else rounded(latency.value, latency.uncertainty)
    interval = interval_of(latency)
    return Line(
        texts=(
            f"{contest.case} ({pattern})" if several else contest.case,
            best.backend if best else NOTHING,
            _sureness(contest),
            spelled if interval == NOTHING else f"{spelled} ({interval})",
            lead_text(contest) or NOTHING,
            problem,
            flags or NOTHING,
        ),
        keys=(
            contest.case,
            best.backend if best else "",
            str(contest.certainty),
            latency.value if latency else 1e9,
            contest.next.times_best.value if contest.next else 0.0,
            problem,
            flags,
        ),
    )


def _sureness(contest: Contest) -> str:
    if contest.certainty is not Certainty.TIE:
        return _SURENESS[contest.certainty]
    others = [ratio_of_times(one.times_best, one.backend) for one in contest.winners[1:]]
    more = len(others) - _MOST_TIED
    return f"tie with {enumerate_names([*others[:_MOST_TIED], f'{more} more'] if more > 0 else others)}"


_SURENESS = {
    Certainty.CLEAR: "sure",
    Certainty.UNKNOWN: "one process",
    Certainty.ALONE: "no other backend",
    Certainty.NONE: "not measured",
}
