"""A suite against itself, and how far processes scatter under three statistics: run as a script.

A/A: the same suite twice, one run after the other, nothing changed between them. Every ratio would be 1 on a machine
that does the same thing every time, and nearly every pair of 95 % intervals should overlap. The scatter of a cell is
the standard deviation, over processes, of the logarithm of what stands for a process: the 10th percentile, the median
and the mean of the very same samples, so that nothing but the statistic differs. Cells of all runs are pooled as the
root of the mean variance, which the worst cells decide, and as the median cell, which they do not.

``--recorded`` shows the same of 80 recorded processes: every five that follow one another are taken for a run of five
processes, and every run is compared with the next.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

import attnbench
from attnbench.core.record import Status
from attnbench.core.stats import Estimate, estimate, percentile, process_statistic
from attnbench.results.journal import read_journal

SUITE = """\
name: repeatability
cases:
  - {name: svt_s stage 1, batch: {cpu: 2, cuda: 64}, resolution: 56, window: 7, heads: 2}
  - {name: svt_s stage 3, batch: {cpu: 2, cuda: 64}, resolution: 14, window: 7, heads: 8}
  - {name: shifted, batch: {cpu: 2, cuda: 64}, resolution: 56, window: 7, heads: 3, pattern: shifted, bias: relative}
backends: [naive, sdpa]
measure: {processes: 5, max_time_s: 0.3}
"""
RECORDED_BLOCKS = 5
STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "10th percentile": partial(percentile, percent=10),
    "median": statistics.median,
    "mean": statistics.fmean,
}
Run = dict[str, list[Sequence[float]]]
"""By cell, the samples of every process."""


def measured(suite: Path, directory: Path) -> tuple[Run, str]:
    """The samples of a run made now, and the type of its device."""
    attnbench.run(suite, directory)
    run: Run = {}
    device_type = ""
    for record in read_journal(directory):
        if record.status is Status.OK:
            device_type = record.device_type
            run.setdefault(f"{record.case}, {record.backend}", []).append(record.samples_ms)
    return run, device_type


def recorded(path: Path) -> list[Run]:
    """Recorded processes as runs; the anchors, which are no attention, are left out."""
    frame = pd.read_parquet(path)
    frame = frame[~frame["cell"].str.startswith("anchor/")].sort_values(["process", "sample"])
    runs: list[Run] = []
    for place, process in enumerate(sorted(frame["process"].unique())):
        if place % RECORDED_BLOCKS == 0:
            runs.append({})
        for cell, samples in frame[frame["process"] == process].groupby("cell")["latency_ms"]:
            runs[-1].setdefault(str(cell), []).append(samples.tolist())
    return runs


def compare(first: Run, second: Run, device_type: str) -> dict[str, tuple[float, bool]]:
    """By cell, the ratio of the second run's latency to the first's, and whether their intervals overlap."""
    compared: dict[str, tuple[float, bool]] = {}
    for cell in first.keys() & second.keys():
        a, b = (estimate([process_statistic(process, device_type) for process in run[cell]]) for run in (first, second))
        compared[cell] = b.value / a.value, _overlap(a, b)
    return compared


def _overlap(a: Estimate, b: Estimate) -> bool:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return True  # of one process, an interval excludes nothing
    return max(a.low, b.low) <= min(a.high, b.high)


def summary(compared: Sequence[tuple[float, bool]], title: str) -> str:
    off = [100 * abs(math.log(ratio)) for ratio, _ in compared]
    overlaps = sum(overlap for _, overlap in compared)
    return (
        f"{title}: off by {percentile(off, 50):.1f}% in the median cell, {percentile(off, 90):.1f}% at the 90th "
        f"percentile; intervals overlap in {overlaps} of {len(off)}"
    )


def print_scatter(runs: Sequence[Run], title: str, device_type: str) -> None:
    print(f"\n{title + ', scatter between processes':44} {'pooled':>8} {'median cell':>12}")
    cells = [processes for run in runs for processes in run.values() if len(processes) > 1]
    for name, statistic in STATISTICS.items():
        variances = [statistics.variance(math.log(statistic(process)) for process in processes) for processes in cells]
        pooled, middle = math.sqrt(statistics.fmean(variances)), math.sqrt(statistics.median(variances))
        ours = all(
            statistic(process) == process_statistic(process, device_type)
            for processes in cells
            for process in processes
        )
        print(f"{name + (' (ours)' if ours else ''):44} {100 * pooled:7.1f}% {100 * middle:11.1f}%")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=Path, help="of at least two processes, instead of the small one here")
    parser.add_argument("--recorded", type=Path, metavar="PATH", help="also show aa_two_threads.parquet")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        suite: Path = arguments.suite or Path(name) / "suite.yaml"
        if arguments.suite is None:
            suite.write_text(SUITE)
        (first, device_type), (second, _) = (measured(suite, Path(name) / run) for run in ("first", "second"))
    compared = compare(first, second, device_type)
    print(f"{'cell':44} {'second/first':>12} {'intervals':>12}")
    for cell, (ratio, overlap) in sorted(compared.items()):
        print(f"{cell:44} {ratio:12.3f} {'overlap' if overlap else 'apart':>12}")
    print(summary(list(compared.values()), "now"))
    print_scatter([first, second], "now", device_type)
    if arguments.recorded:
        runs = recorded(arguments.recorded)
        pairs = [compare(a, b, "cpu") for a, b in itertools.pairwise(runs)]
        print("\n" + summary([found for pair in pairs for found in pair.values()], "recorded"))
        print_scatter(runs, "recorded", "cpu")
    print(
        "\nNothing changed between runs: what makes a ratio differ from 1 is the machine and the harness. The less "
        "processes scatter,\nthe smaller the slowdown that as many of them can show."
    )


if __name__ == "__main__":
    main()
