"""False alarms on recorded processes in which nothing changed, and what is seen of slowdowns: run as a script.

``tests/data/aa_two_threads.parquet`` holds 80 processes of a shared machine with two cores, one after the other, each
with 24 cells and two anchors (a copy and a matrix product) of 15 samples. A table is drawn from neighbouring processes;
a false alarm is a table in which any cell is called slower or faster. For detection one cell of the candidate is
multiplied, and counts as seen where it is called slower.

Beside our rules stand those of tools that compare two processes, restated with their default settings as far as they
are known to us and not run themselves; they see every cell's 15 samples of one process each:

* pytest-benchmark, ``--benchmark-compare-fail=min:5%`` and ``mean:5%``: the statistic grew by more than 5 %.
* google/benchmark, ``compare.py``: Mann-Whitney's U test of the repetitions, p < 0.05.
* criterion: the 95 % bootstrap interval of the change of means lies outside the noise threshold of 1 %.
* pyperf, ``compare_to``: Student's two-sample t-test, 95 %.
* asv, ``continuous``: medians differ by the factor 1.1 and Mann-Whitney's p < 0.002.
* nvbench, ``nvbench_compare.py``: the means differ by more than the smaller relative standard deviation.

Their authors' advice is to compare on quiet machines; this is what becomes of them on one that is not.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from attnbench.comparison.rules import CONFIRM_PAIRS, FEWEST_RUNS, SCREEN_PAIRS, judge_history, judge_pairs, screen
from attnbench.comparison.verdict import Verdict

RECORDED = Path(__file__).parents[1] / "data" / "aa_two_threads.parquet"
SLOWDOWNS = (1.03, 1.05, 1.10)
Numbers = NDArray[np.float64]
Rule = Callable[[Numbers, Numbers], "NDArray[np.bool_]"]
"""From samples ``[cells, samples]`` of base and candidate to whether each cell is called slower; likewise faster."""


def pytest_benchmark(statistic: Callable[..., Numbers]) -> Rule:
    return lambda base, now: statistic(now, axis=1) > 1.05 * statistic(base, axis=1)


def google_benchmark(base: Numbers, now: Numbers) -> NDArray[np.bool_]:
    p = stats.mannwhitneyu(base, now, axis=1, alternative="two-sided").pvalue
    return (p < 0.05) & (np.median(now, axis=1) > np.median(base, axis=1))


def criterion(base: Numbers, now: Numbers) -> NDArray[np.bool_]:
    generator = np.random.default_rng(0)
    draws = generator.integers(0, base.shape[1], size=(2, 1000, base.shape[1]))
    changes = now[:, draws[0]].mean(2) / base[:, draws[1]].mean(2) - 1
    return np.quantile(changes, 0.025, axis=1) > 0.01


def pyperf(base: Numbers, now: Numbers) -> NDArray[np.bool_]:
    return (stats.ttest_ind(base, now, axis=1).pvalue < 0.05) & (now.mean(1) > base.mean(1))


def asv(base: Numbers, now: Numbers) -> NDArray[np.bool_]:
    p = stats.mannwhitneyu(base, now, axis=1, alternative="two-sided").pvalue
    return (p < 0.002) & (np.median(now, axis=1) > 1.1 * np.median(base, axis=1))


def nvbench(base: Numbers, now: Numbers) -> NDArray[np.bool_]:
    noise = np.minimum(base.std(1) / base.mean(1), now.std(1) / now.mean(1))
    return now.mean(1) / base.mean(1) - 1 > noise


PEERS: dict[str, Rule] = {
    "pytest-benchmark, min:5%": pytest_benchmark(np.min),
    "pytest-benchmark, mean:5%": pytest_benchmark(np.mean),
    "google/benchmark": google_benchmark,
    "criterion": criterion,
    "pyperf": pyperf,
    "asv": asv,
    "nvbench": nvbench,
}


class Tally:
    """Tables, those with a false alarm, and slowdowns seen."""

    def __init__(self) -> None:
        self.tables = self.false = 0
        self.seen = dict.fromkeys(SLOWDOWNS, 0)

    def line(self, name: str) -> str:
        low, high = stats.binomtest(self.false, self.tables).proportion_ci(0.95)
        seen = "".join(f"{seen / self.tables:8.0%}" for seen in self.seen.values())
        return f"{name:34} {self.false:5} of {self.tables} {low:7.1%} to {high:5.1%} {seen}"


def peers(samples: Numbers, tables: int, generator: np.random.Generator) -> dict[str, Tally]:
    """One process beside the next. ``samples`` is ``[processes, cells, samples]``."""
    found = {name: Tally() for name in PEERS}
    for _ in range(tables):
        first = int(generator.integers(0, len(samples) - 1))
        base, now = samples[first], samples[first + 1]
        cell = int(generator.integers(0, base.shape[0]))
        for name, rule in PEERS.items():
            tally = found[name]
            tally.tables += 1
            tally.false += bool(rule(base, now).any() or rule(now, base).any())
            for slowdown in SLOWDOWNS:
                slowed = now.copy()
                slowed[cell] *= slowdown
                tally.seen[slowdown] += bool(rule(base, slowed)[cell])
    return found


def ours_in_pairs(values: Numbers, tables: int, generator: np.random.Generator) -> Tally:
    """Thirty neighbouring processes, alternated base, candidate, candidate, base: ``[processes, cells]``."""
    tally = Tally()
    needed = 2 * (SCREEN_PAIRS + CONFIRM_PAIRS)
    for _ in range(tables):
        first = int(generator.integers(0, len(values) - needed + 1))
        window = values[first : first + needed].reshape(-1, 2, values.shape[1])
        signs = np.where(np.arange(len(window)) % 2 == generator.integers(0, 2), 1.0, -1.0)
        pairs = signs[:, None] * (window[:, 1] - window[:, 0])
        cell = int(generator.integers(0, values.shape[1]))
        tally.tables += 1
        tally.false += bool({Verdict.REGRESSED, Verdict.IMPROVED} & set(_in_pairs(pairs)))
        for slowdown in SLOWDOWNS:
            slowed = pairs.copy()
            slowed[:, cell] += math.log(slowdown)
            tally.seen[slowdown] += _in_pairs(slowed)[cell] is Verdict.REGRESSED
    return tally


def _in_pairs(pairs: Numbers) -> list[Verdict]:
    cells = range(pairs.shape[1])
    first = {cell: pairs[:SCREEN_PAIRS, cell].tolist() for cell in cells}
    second = {cell: pairs[SCREEN_PAIRS:, cell].tolist() for cell in screen(first).suspects}
    judged = judge_pairs(first, second)
    return [judged[cell].verdict for cell in cells]


def ours_beside_history(
    values: Numbers, anchors: Numbers, tables: int, generator: np.random.Generator, *, blocks: int
) -> Tally:
    """Neighbouring runs of some processes each: the fewest that make a history, and the candidate after them."""
    tally = Tally()
    needed = blocks * (FEWEST_RUNS + 1)
    anchored = values - anchors.mean(1, keepdims=True)
    for _ in range(tables):
        first = int(generator.integers(0, len(values) - needed + 1))
        runs = anchored[first : first + needed].reshape(FEWEST_RUNS + 1, blocks, -1).mean(1)
        cells = range(runs.shape[1])
        base = {cell: runs[:-1, cell].tolist() for cell in cells}
        now = {cell: float(runs[-1, cell]) for cell in cells}
        cell = int(generator.integers(0, runs.shape[1]))
        tally.tables += 1
        verdicts = {judgment.verdict for judgment in judge_history(base, now).values()}
        tally.false += bool({Verdict.REGRESSED, Verdict.IMPROVED} & verdicts)
        for slowdown in SLOWDOWNS:
            slowed = now | {cell: now[cell] + math.log(slowdown)}
            tally.seen[slowdown] += judge_history(base, slowed)[cell].verdict is Verdict.REGRESSED
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=300)
    tables: int = parser.parse_args().tables

    recorded = pd.read_parquet(RECORDED).pivot_table("latency_ms", index=["process", "cell"], columns="sample")
    cells = recorded[~recorded.index.get_level_values("cell").str.startswith("anchor")]
    anchors = recorded[recorded.index.get_level_values("cell").str.startswith("anchor")]
    processes = cells.index.get_level_values("process").nunique()
    samples = cells.to_numpy().reshape(processes, -1, cells.shape[1])
    values = np.log(np.quantile(samples, 0.1, axis=2))
    anchor_values = np.log(np.quantile(anchors.to_numpy().reshape(processes, 2, -1), 0.1, axis=2))

    print(f"{'rule':34} {'tables with a false alarm':>29}  {'seen: +3%':>9}    +5%    +10%")
    for name, tally in peers(samples, tables, np.random.default_rng(0)).items():
        print(tally.line(name))
    print(ours_in_pairs(values, tables, np.random.default_rng(0)).line("ours, 5 + 10 alternated pairs"))
    for blocks in (1, 3):
        tally = ours_beside_history(values, anchor_values, tables, np.random.default_rng(0), blocks=blocks)
        print(tally.line(f"ours, history of {FEWEST_RUNS} runs of {blocks}"))
    print(
        f"{processes} processes, {samples.shape[1]} cells. Tables overlap, so the intervals (95 %, binomial) are too "
        "narrow;\nof 80 processes, two A/B comparisons and eleven histories of single processes are independent."
    )


if __name__ == "__main__":
    main()
