"""What is checked, in words: the question of each check, what its figure is, and what a failure means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attnbench.core.verification import Answer, Figure


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check of the harness."""

    question: str
    figure: str
    """What its value is."""
    failure: str
    """What it means if it fails, and what to do."""


CHECKS: dict[str, Check] = {
    "known time": Check(
        question="Does a call that takes a known time measure as that?",
        figure="measured / true latency",
        failure="latencies are wrong on this machine: believe none; report it with this output",
    ),
    "agreement": Check(
        question="Does another instrument find the same latency?",
        figure="ours / theirs",
        failure="one of two clocks is wrong, or the machine is too busy: attnbench doctor, then run it again",
    ),
    "a/a": Check(
        question="Do two equal backends measure alike?",
        figure="candidate / base",
        failure="ab would raise false alarms here: attnbench doctor finds what disturbs the machine",
    ),
    "slowdown": Check(
        question="Does ab see a slowdown of 5 %?",
        figure="candidate / base, true 1.05",
        failure="ab would let regressions pass here: give it more rounds (--max-rounds) or a quieter machine",
    ),
    "cold": Check(
        question="Is a copy slower when its data was flushed from the caches?",
        figure="cold / hot latency",
        failure="the flush does not work: numbers with measure.cache: cold are of hot caches; report it",
    ),
    "copy": Check(
        question="Is the copy ceiling what a second copy routine reaches?",
        figure="ours / theirs",
        failure="% of roofline is wrong for memory-bound cells: do not use it; report it with this output",
    ),
    "product": Check(
        question="Is the matmul ceiling what a second matrix product reaches?",
        figure="ours / theirs",
        failure="% of roofline is wrong for compute-bound cells: do not use it; report it with this output",
    ),
    "reference": Check(
        question="Does the reference agree with a token-by-token definition?",
        figure="largest difference",
        failure="results are checked against a wrong reference: believe no status; report it with this output",
    ),
    "published": Check(
        question="Does the reference agree with published layers?",
        figure="largest difference",
        failure="the installed package computes another function than its papers, or the reference does: report it",
    ),
    "memory": Check(
        question="Is the peak memory of known calls right?",
        figure="measured / true bytes",
        failure="peak_bytes is wrong with this version of torch: do not compare memory; report it",
    ),
    "faults": Check(
        question="Does a backend that fails cost its own cell alone?",
        figure="cells that end as they should",
        failure="one backend can spoil the cells of another, or pass as right: report it with this output",
    ),
    "leftovers": Check(
        question="Is nothing left running after a run?",
        figure="processes left",
        failure="a backend's process outlives its run and disturbs the next one: end it (pkill -f) and report it",
    ),
}
"""By name, in the order in which they are shown."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """All figures that were found."""

    device: str
    """As torch spells it."""
    device_name: str
    torch: str
    """Its version."""
    figures: tuple[Figure, ...]
    elapsed_s: float
    load: float = 0.0
    """Processes that wanted to run on every core when it began; above 1, the machine was busy."""

    @property
    def failed(self) -> tuple[Figure, ...]:
        """Those outside their limits."""
        return tuple(figure for figure in self.figures if figure.answer is Answer.FAIL)

    @property
    def headline(self) -> str:
        """One sentence over all."""
        counts = {answer: sum(one.answer is answer for one in self.figures) for answer in Answer}
        absent = f", {counts[Answer.NOT_HERE]} not here" if counts[Answer.NOT_HERE] else ""
        if failed := self.failed:
            names = ", ".join(dict.fromkeys(one.check for one in failed))
            return f"FAIL: {len(failed)} of {len(self.figures)} figures are outside their limits ({names}){absent}"
        return f"PASS: {counts[Answer.PASS]} figures are within their limits{absent}"

    def by_check(self) -> Iterator[tuple[Check, Sequence[Figure]]]:
        """The figures of every check, in the order of ``CHECKS``."""
        for name, check in CHECKS.items():
            if found := [figure for figure in self.figures if figure.check == name]:
                yield check, found
