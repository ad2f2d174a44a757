"""Recorded A/A pairs: 24 cells whose two sides are the same, sampled in turn. Run as a script to add some.

    attnbench noise tests/benchmarks/recorded.yaml --pairs 100 --output aa
    python -m tests.benchmarks.recordings aa --condition quiet

``tests/data/aa_pairs.parquet`` has two conditions, both of a virtual machine with two cores: ``quiet``, with hardly
anything else at work, and ``loaded``, where neighbours kept both cores busy. Of every turn it has the fastest sample
and the mean, with five digits. A cell that was not measured in every round is left out.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attnbench.core.record import Status
from attnbench.results.journal import read_journal

RECORDED = Path(__file__).parents[1] / "data" / "aa_pairs.parquet"
CONDITIONS = ("quiet", "loaded")
SAMPLES = 8
"""Of a process, for rules that pool samples, each the mean of a turn: as many as every process has."""
Numbers = NDArray[np.float64]


def rows_of(directory: Path, condition: str) -> Iterator[dict[str, Any]]:
    """A row per turn of what ``attnbench noise`` wrote."""
    for side in ("base", "candidate"):
        for record in read_journal(directory / side):
            if record.status is not Status.OK:
                continue
            ends = [0, *accumulate(record.turns)]
            for turn, (start, end) in enumerate(pairwise(ends)):
                samples = record.samples_ms[start:end]
                cell = f"{record.case} {record.backend}"
                fastest_ms, mean_ms = (float(f"{ms:.5g}") for ms in (min(samples), statistics.fmean(samples)))
                yield {"condition": condition, "round": record.round, "cell": cell, "side": side, "turn": turn,
                       "fastest_ms": fastest_ms, "mean_ms": mean_ms, "samples": len(samples)}  # fmt: skip


def add(directory: Path, condition: str) -> None:
    """Put a recording into the file, in the place of one of the same condition."""
    found = pd.DataFrame(rows_of(directory, condition))
    if RECORDED.exists():
        before = pd.read_parquet(RECORDED)
        found = pd.concat([before[before["condition"] != condition], found])
    small = {"round": "int16", "turn": "int8", "fastest_ms": "float32", "mean_ms": "float32", "samples": "int16"}
    texts = dict.fromkeys(("condition", "cell", "side"), "category")
    found.astype({**small, **texts}).to_parquet(RECORDED, compression="zstd", index=False)


@functools.cache
def pairs(condition: str) -> Numbers:
    """log(candidate / base) ``[rounds, cells]`` as ``ab`` takes it: the median over turns of their fastest samples."""
    turns = _recorded(condition).pivot_table("fastest_ms", ["round", "cell", "turn"], "side", observed=True)
    turns["ratio"] = np.log(turns["candidate"] / turns["base"])
    return turns.reset_index().pivot_table("ratio", "round", "cell", "median", observed=True).to_numpy()


@functools.cache
def means(condition: str) -> Numbers:
    """log(candidate / base) of the means of all samples ``[rounds, cells]``, in the order of ``pairs``."""
    found = _recorded(condition)
    found = found.assign(sum_ms=found["mean_ms"] * found["samples"])
    sums = found.pivot_table(["sum_ms", "samples"], ["round", "cell"], "side", "sum", observed=True)
    mean = sums["sum_ms"] / sums["samples"]
    mean["ratio"] = np.log(mean["candidate"] / mean["base"])
    return mean.reset_index().pivot_table("ratio", "round", "cell", observed=True).to_numpy()


@functools.cache
def processes(condition: str) -> Numbers:
    """Samples ``[rounds, cells, SAMPLES]`` of the base's processes, one after the other."""
    base = _recorded(condition).query("side == 'base'")
    numbers, cells = sorted(base["round"].unique()), sorted(base["cell"].unique())
    found = np.full((len(numbers), len(cells), SAMPLES), np.nan)
    for (number, cell), samples in base.groupby(["round", "cell"], observed=True)["mean_ms"]:
        spread = np.linspace(0, len(samples) - 1, SAMPLES).round().astype(int)
        found[numbers.index(number), cells.index(cell)] = samples.to_numpy()[spread]
    return found


def scatter(condition: str) -> float:
    """Standard deviation of a pair's ratio in the median cell."""
    return statistics.median(pairs(condition).std(axis=0, ddof=1).tolist())


@functools.cache
def _recorded(condition: str) -> pd.DataFrame:
    found = pd.read_parquet(RECORDED)
    found = found[found["condition"] == condition]
    rounds = found.groupby("cell", observed=True)["round"].nunique()
    return found[found["cell"].isin(rounds[rounds == found["round"].nunique()].index)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--condition", choices=CONDITIONS, required=True)
    arguments = parser.parse_args()
    add(arguments.directory, arguments.condition)
    for condition in sorted(set(pd.read_parquet(RECORDED)["condition"])):
        rounds, cells = pairs(condition).shape
        print(
            f"{condition}: {rounds} pairs of {cells} cells, {scatter(condition):.1%} between pairs in the median cell"
        )


if __name__ == "__main__":
    main()
