"""False alarms on recorded processes in which nothing changed, and what is seen of slowdowns.

    python -m tests.benchmarks.false_alarms

Two recordings (``recordings.py``), of a quiet and of a loaded machine, hold pairs of processes sampled in turn, 24
cells each. ``aa_two_threads.parquet`` holds 80 processes one after the other, for histories: 24 cells and two anchors
(a copy and a matrix product) of 15 samples. A table is drawn from neighbouring processes; a false alarm is a table in
which any cell is called slower or faster. For detection one cell of the candidate is multiplied, and counts as seen
where it is called slower: in pairs with certainty, by whatever fails or less.

Beside our rules stand those of tools that compare two processes, restated from their documentation and, where that
leaves it open, their source. They were not run themselves, and see every cell's samples of one process each, the base's
of one round and of the next, where some of them would by default take fewer or more:

* pytest-benchmark, ``--benchmark-compare-fail=min:5%`` and ``mean:5%`` (docs/comparing.rst; there is no default, the
  first is its example): the statistic grew by more than 5 %. It never calls anything faster.
* google/benchmark, ``compare.py`` (docs/tools.md): Mann-Whitney's U test, two-sided, p < 0.05, of the repetitions, of
  which there is one unless more are asked for. It names no direction; here the medians do.
* criterion (book/src/analysis.md, src/analysis/compare.rs): p < 0.05 by Welch's t against its distribution under
  resampling from the pooled samples, and the 95 % bootstrap interval of the change of means outside 1 %.
* pyperf, ``compare_to`` (doc/analyze.rst): Student's two-sample t-test, two-sided, 95 %.
* asv, ``continuous`` (docs/source/using.rst, asv/_stats.py): medians differ by the factor 1.1, and the exact
  Mann-Whitney test has p < 0.002.
* nvbench, ``nvbench_compare.py`` (python/scripts; since 2026 ``nvbench-compare-legacy``): means differ by more than the
  smaller of the two relative standard deviations.

Their authors' advice is to compare on quiet machines; this is what happens to them on one that is not.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from attnbench.comparison.definitions import Verdict
from attnbench.comparison.history_rule import FEWEST_RUNS, MARGIN, judge_history, judge_single, spread_of
from attnbench.comparison.pairs_rule import ALPHA, MAX_ROUNDS, Budget, judge_cell
from tests.benchmarks import recordings

RECORDED = Path(__file__).parents[1] / "data" / "aa_two_threads.parquet"
SLOWDOWNS = (1.03, 1.05, 1.10, 1.25)
RESAMPLES = 10_000
"""criterion takes 100,000; here that moves its shares by one table in a hundred at most."""
HEAD = f"{'rule':36} {'tables with a false alarm':>29}  {'seen: +3%':>9}    +5%    +10%    +25%"
Numbers = NDArray[np.float64]
Calls = NDArray[np.int_]
"""By cell: 1 where it is called slower, -1 where faster, 0 where neither."""
Rule = Callable[[Numbers, Numbers], Calls]
"""From samples ``[cells, samples]`` of base and candidate to what is called."""


def pytest_benchmark(statistic: Callable[..., Numbers]) -> Rule:
    return lambda base, now: (100 * statistic(now, axis=1) / statistic(base, axis=1) - 100 > 5).astype(int)


def google_benchmark(base: Numbers, now: Numbers) -> Calls:
    p = stats.mannwhitneyu(base, now, axis=1, alternative="two-sided").pvalue
    return _called(p < 0.05, np.median(now, axis=1) - np.median(base, axis=1))


def criterion(base: Numbers, now: Numbers) -> Calls:
    generator = np.random.default_rng(0)
    size = base.shape[1]

    def drawn(of: Numbers) -> Numbers:
        weights = generator.multinomial(size, np.full(of.shape[1], 1 / of.shape[1]), size=RESAMPLES)
        return weights.astype(float)

    def moments(weights: Numbers, values: Numbers) -> tuple[Numbers, Numbers]:
        mean = weights @ values.T / size
        return mean, (weights @ values.T**2 - size * mean**2) / (size - 1)

    changes = drawn(now) @ now.T / (drawn(base) @ base.T) - 1
    low, high = np.quantile(changes, (0.025, 0.975), axis=0)
    pooled = np.concatenate([base, now], axis=1)
    pooled = pooled - pooled.mean(axis=1, keepdims=True)
    (mean_now, var_now), (mean_base, var_base) = moments(drawn(pooled), pooled), moments(drawn(pooled), pooled)
    under_null = (mean_now - mean_base) / np.sqrt((var_now + var_base) / size)
    seen = stats.ttest_ind(now, base, axis=1, equal_var=False).statistic
    below = (under_null < seen).mean(axis=0)
    p = 2 * np.minimum(below, 1 - below)
    return np.where(p < 0.05, (low > 0.01).astype(int) - (high < -0.01), 0)


def pyperf(base: Numbers, now: Numbers) -> Calls:
    return _called(stats.ttest_ind(base, now, axis=1).pvalue <= 0.05, now.mean(axis=1) - base.mean(axis=1))


def asv(base: Numbers, now: Numbers) -> Calls:
    p = stats.mannwhitneyu(base, now, axis=1, alternative="two-sided", method="exact").pvalue
    was, became = np.median(base, axis=1), np.median(now, axis=1)
    return np.where(p < 0.002, (became > 1.1 * was).astype(int) - (was > 1.1 * became), 0)


def nvbench(base: Numbers, now: Numbers) -> Calls:
    noise = np.minimum(stats.variation(base, axis=1, ddof=1), stats.variation(now, axis=1, ddof=1))
    change = now.mean(axis=1) / base.mean(axis=1) - 1
    return _called(np.abs(change) > noise, change)


def _called(significant: Any, change: Numbers) -> Calls:
    return np.where(significant, np.sign(change), 0).astype(int)


PEERS: dict[str, Rule] = {
    "pytest-benchmark, min:5%": pytest_benchmark(np.min),
    "pytest-benchmark, mean:5%": pytest_benchmark(np.mean),
    "google/benchmark": google_benchmark,
    "criterion": criterion,
    "pyperf": pyperf,
    "asv": asv,
    "nvbench (legacy)": nvbench,
}


class Tally:
    """Tables, those with a false alarm, and slowdowns seen."""

    def __init__(self) -> None:
        self.tables = self.false = 0
        self.seen = dict.fromkeys(SLOWDOWNS, 0)

    def line(self, name: str) -> str:
        low, high = stats.binomtest(self.false, self.tables).proportion_ci(0.95)
        seen = "".join(f"{seen / self.tables:8.0%}" for seen in self.seen.values())
        return f"{name:36} {self.false:5} of {self.tables} {low:7.1%} to {high:5.1%} {seen}"


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
            tally.false += bool(rule(base, now).any())
            for slowdown in SLOWDOWNS:
                slowed = now[[cell]] * slowdown
                tally.seen[slowdown] += bool(rule(base[[cell]], slowed)[0] == 1)
    return found


def ours_in_pairs(found: Numbers, means: Numbers, tables: int, generator: np.random.Generator) -> Tally:
    """Neighbouring pairs, and those of means, ``[rounds, cells]``, turned round at random: both sides are the same."""
    tally = Tally()
    rounds, cells = found.shape
    budget = Budget(cells=cells, max_rounds=min(MAX_ROUNDS, rounds))
    for _ in range(tables):
        first = int(generator.integers(0, rounds - budget.max_rounds + 1))
        sign = generator.choice([-1.0, 1.0])
        table, of_means = (sign * all_of[first : first + budget.max_rounds] for all_of in (found, means))
        cell = int(generator.integers(0, cells))
        tally.tables += 1
        called = [_called_in_pairs(table[:, one], of_means[:, one], budget) for one in range(cells)]
        tally.false += any(called)
        for slowdown in SLOWDOWNS:
            slowed, log = (table[:, cell], of_means[:, cell]), math.log(slowdown)
            tally.seen[slowdown] += _called_in_pairs(slowed[0] + log, slowed[1] + log, budget) == 1
    return tally


def _called_in_pairs(logs: Numbers, means: Numbers, budget: Budget) -> int:
    """1 where it is slower for certain, -1 where it is faster for certain."""
    pairs, of_means = (dict(enumerate(found.tolist())) for found in (logs, means))
    judged = judge_cell(pairs, budget, rounds=budget.max_rounds, means=of_means)
    assert judged is not None
    assert judged.p_value is not None
    certain = judged.p_value <= ALPHA
    return int(math.copysign(1, math.log(judged.ratio.value))) if certain else 0


def ours_beside_history(
    anchored: Numbers, tables: int, generator: np.random.Generator, *, processes: int, confirmed: bool = True
) -> Tally:
    """Neighbouring runs of some processes each: the fewest that make a history, and the candidate after them.

    Without ``confirmed`` the candidate's processes count as their mean alone, repeated: what the demand that every one
    of them agrees is worth.
    """
    tally = Tally()
    needed = processes * (FEWEST_RUNS + 1)
    for _ in range(tables):
        first = int(generator.integers(0, len(anchored) - needed + 1))
        runs = anchored[first : first + needed].reshape(FEWEST_RUNS + 1, processes, -1)
        cells = range(runs.shape[2])
        base = {cell: runs[:-1, :, cell].mean(axis=1).tolist() for cell in cells}
        now = {cell: runs[-1, :, cell] for cell in cells}
        if not confirmed:
            now = {cell: np.full(3, logs.mean()) for cell, logs in now.items()}
        cell = int(generator.integers(0, runs.shape[2]))
        tally.tables += 1
        judged = judge_history(base, {name: logs.tolist() for name, logs in now.items()})
        tally.false += any(one.verdict in (Verdict.REGRESSED, Verdict.IMPROVED) for one in judged.values())
        for slowdown in SLOWDOWNS:
            slowed = now | {cell: now[cell] + math.log(slowdown)}
            judged = judge_history(base, {name: logs.tolist() for name, logs in slowed.items()})
            tally.seen[slowdown] += judged[cell].verdict is Verdict.REGRESSED
    return tally


def ours_beside_one(anchored: Numbers, tables: int, generator: np.random.Generator) -> Tally:
    """A run of three processes beside another, with what 20 processes elsewhere tell of the scatter.

    Nothing is called slower by this rule; what is counted is what it calls ``suspect``.
    """
    tally, processes, pairs = Tally(), 3, 10
    while tally.tables < tables:
        start = int(generator.integers(0, len(anchored) - 2 * pairs + 1))
        elsewhere = anchored[start : start + 2 * pairs]
        base, now = generator.choice(len(anchored) - processes + 1, size=2, replace=False)
        inside = [place for place in (base, now) if start - processes < place < start + 2 * pairs]
        if inside or abs(base - now) < processes:
            continue
        cells = range(anchored.shape[1])
        spreads = {
            cell: (math.sqrt(variance * 2 / processes), degrees)
            for cell, (variance, degrees) in spread_of({cell: elsewhere[:, cell].tolist() for cell in cells}).items()
        }
        ratios = anchored[now : now + processes].mean(0) - anchored[base : base + processes].mean(0)
        cell = int(generator.integers(0, anchored.shape[1]))
        tally.tables += 1
        tally.false += _suspects(ratios, spreads) > 0 or _suspects(-ratios, spreads) > 0
        for slowdown in SLOWDOWNS:
            slowed = {name: float(ratios[name]) + math.log(slowdown) * (name == cell) for name in cells}
            tally.seen[slowdown] += _is_suspect(slowed, spreads, cell)
    return tally


def _suspects(ratios: Numbers, spreads: dict[int, tuple[float, float]]) -> int:
    logs = dict(enumerate(ratios.tolist()))
    return sum(_is_suspect(logs, spreads, cell) for cell in logs)


def _is_suspect(ratios: dict[int, float], spreads: dict[int, tuple[float, float]], cell: int) -> bool:
    judged = judge_single(ratios, spreads=spreads)[cell]
    assert judged.verdict not in (Verdict.REGRESSED, Verdict.IMPROVED)
    beyond = judged.p_value is not None and judged.p_value < 0.01 and judged.ratio.value >= 1 + MARGIN
    return judged.verdict is Verdict.SUSPECT and beyond


@functools.cache
def recorded() -> tuple[Numbers, Numbers, Numbers]:
    """Samples ``[processes, cells, samples]``; logarithms of the processes' values ``[processes, cells]``, anchored."""
    table = pd.read_parquet(RECORDED).pivot_table("latency_ms", index=["process", "cell"], columns="sample")
    is_anchor = table.index.get_level_values("cell").str.startswith("anchor")
    cells, anchors = table[~is_anchor], table[is_anchor]
    processes = cells.index.get_level_values("process").nunique()
    samples = cells.to_numpy().reshape(processes, -1, cells.shape[1])
    values = np.log(np.quantile(samples, 0.1, axis=2))
    anchor = np.log(np.quantile(anchors.to_numpy().reshape(processes, 2, -1), 0.1, axis=2)).mean(1, keepdims=True)
    return samples, values, values - anchor


def ours(tables: int) -> dict[str, Tally]:
    """Every rule of ours for stored runs."""
    _, _, anchored = recorded()

    def history(processes: int, *, confirmed: bool = True) -> Tally:
        return ours_beside_history(anchored, tables, np.random.default_rng(0), processes=processes, confirmed=confirmed)

    return {
        f"ours, history of {FEWEST_RUNS} runs of 3": history(3),
        f"ours, history of {FEWEST_RUNS} runs of 1": history(1),
        "... were one process enough": history(1, confirmed=False),
        "ours, one run, with noise: suspect": ours_beside_one(anchored, tables, np.random.default_rng(0)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=300)
    tables: int = parser.parse_args().tables
    for condition in recordings.CONDITIONS:
        rounds, cells = recordings.pairs(condition).shape
        print(f"{rounds} pairs of {cells} cells, {condition}")
        print(HEAD)
        for name, tally in peers(recordings.processes(condition), tables, np.random.default_rng(0)).items():
            print(tally.line(name))
        tally = ours_in_pairs(
            recordings.pairs(condition), recordings.means(condition), tables, np.random.default_rng(0)
        )
        print(tally.line("attnbench ab") + "\n")
    print(f"80 processes of 24 cells, one after the other\n{HEAD}")
    for name, tally in ours(tables).items():
        print(tally.line(name))
    print("\nTables overlap, so the intervals (95 %, binomial) are too narrow.")


if __name__ == "__main__":
    main()
