"""Where the wall time of a run goes, and what it buys beside a script for every cell: run as a script.

Part a runs ``quick`` and a suite of about five minutes and splits their wall time; with ``--before``, the working tree
of another revision, it runs ``quick`` there and here instead, as whole commands, in turn (A B B A), and compares pair
by pair. Part b measures the same 24 cells twice: as a suite, and with ``torch.utils.benchmark.Timer.blocked_autorange``
in a fresh process for every cell and replicate, which imports torch, makes the inputs and times the same ``Call`` on
one thread. Both get the same timed seconds for a cell and replicate, and as many replicates as the suite has processes.
One replicate of theirs comes before our run and the others after it, so that the machine's moods meet both. Our time
includes checking every output against a float64 reference; theirs checks nothing.

Methods compare at equal certainty: the half-width of a cell's 95 % interval by t over replicates, on the log scale, of
what each reports (a process's statistic; the median, as Timer's users do), in the median cell. Were t's quantile the
same, replicates would be needed as the square of the widths; that flatters the narrower method, because with few
replicates t itself makes intervals wide. So the whole number of replicates that t asks for stands beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from scipy.special import stdtrit

from attnbench.backends import registry
from attnbench.core.stats import estimate
from attnbench.results.table import processes_of
from attnbench.run.runner import open_run
from attnbench.run.track import Outcome
from attnbench.suite.expansion import Suite, load_suite

CELLS = """\
name: efficiency
device: cpu
cases:
  - {name: one window, resolution: 7, window: 7, heads: 8}
  - {name: four windows, resolution: 14, window: 7, heads: 4}
  - {name: stage 3, batch: 2, resolution: 14, window: 7, heads: 8}
  - {name: stage 2, resolution: 28, window: 7, heads: 4}
  - {name: wide windows, resolution: 28, window: 14, heads: 2}
  - {name: shifted, resolution: 14, window: 7, heads: 6, pattern: shifted, bias: relative}
backends: [naive, sdpa, sdpa_math, sdpa_5d]
"""
# What a person writes to time one cell: the problem, the backend and the timed seconds come in, the median goes out.
CHILD = """
import json, sys
import torch
from torch.utils.benchmark import Timer
from attnbench.backends.registry import load
from attnbench.worker.call import Call
from attnbench.worker.reference import make_inputs
from attnbench.core.files import read
from attnbench.core.problem import Problem
problem = read(Problem, json.loads(sys.argv[1]))
inputs = make_inputs(problem, device=torch.device("cpu"), seed=0)
call = Call(load(sys.argv[2])(), problem, inputs)
timer = Timer("call(x)", globals={"call": call, "x": call.input(inputs.x)}, num_threads=1)
with torch.inference_mode():
    print(1e3 * timer.blocked_autorange(min_run_time=float(sys.argv[3])).median)
"""


def load(name: str | Path, *overrides: str) -> Suite:
    return load_suite(name, known_backends=registry.names(), overrides=overrides)


def run(suite: Suite) -> Outcome:
    with tempfile.TemporaryDirectory() as name, open_run(suite, output=Path(name) / "run") as session:
        for _ in session.measure(session.rounds):
            pass
    (outcome,) = session.outcomes.values()
    return outcome


def print_shares(outcomes: Mapping[str, Outcome]) -> None:
    """Part a: seconds and shares of wall time, a column for every run."""
    print(f"{'wall time':28}" + "".join(f"{name:>20}" for name in outcomes))
    columns = []
    for outcome in outcomes.values():
        spent = {name.removesuffix("_s"): seconds for name, seconds in vars(outcome.spent).items()}
        parts = {"timed samples": spent.pop("timed"), "starting processes": outcome.starting_s, **spent}
        columns.append({**parts, "the rest": outcome.elapsed_s - sum(parts.values()), "all": outcome.elapsed_s})
    for part in columns[0]:
        cells = (f"{column[part]:11.1f} s {column[part] / column['all']:6.1%}" for column in columns)
        print(f"{part.replace('_', ' '):28}" + "".join(cells))


def command_parts(tree: Path) -> dict[str, float]:
    """Seconds of ``attnbench run quick`` in a working tree: the whole command, and what its cells say of themselves."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "attnbench", "run", "quick", "--output", f"{name}/run"]
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        began = time.monotonic()
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        elapsed_s = time.monotonic() - began
        if done.returncode > 1:  # 1: a cell is broken
            sys.exit(f"{' '.join(command)} in {tree}: {done.stderr}")
        lines = [json.loads(line) for line in (Path(name) / "run" / "journal.jsonl").read_text().splitlines()]
    parts = {part.removesuffix("_s"): sum(line["spent"][part] for line in lines) for part in lines[0]["spent"]}
    return {**parts, "the rest, processes included": elapsed_s - sum(parts.values()), "all": elapsed_s}


def print_before_and_now(before: Path, pairs: int) -> None:
    """Part a beside another revision."""
    trees = {"before": before.resolve(), "now": Path(__file__).resolve().parents[2]}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    for pair in range(pairs):
        for name in list(trees)[:: -1 if pair % 2 else 1]:
            found[name].append(command_parts(trees[name]))
    print(f"{'quick, median of ' + str(pairs):32}" + "".join(f"{name:>20}" for name in trees) + f"{'now / before':>26}")
    for part in found["now"][0]:
        row = f"{part.replace('_', ' '):32}"
        for some in found.values():
            seconds = statistics.median(parts[part] for parts in some)
            share = statistics.median(parts[part] / parts["all"] for parts in some)
            row += f"{seconds:11.1f} s {share:6.1%}"
        ratios = [now[part] / then[part] for now, then in zip(found["now"], found["before"], strict=True) if then[part]]
        print(f"{row}{_range(ratios):>26}")
    shares = [[parts["timed"] / parts["all"] for parts in some] for some in found.values()]
    print(f"{'share of timed samples':72}{_range([now / then for then, now in zip(*shares, strict=True)]):>26}")


def _range(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else "-"


def their_replicate(suite: Suite, seconds: float) -> dict[tuple[str, str], float]:
    """Milliseconds by case and backend, each from a process of its own."""
    found: dict[tuple[str, str], float] = {}
    for case in suite.cases("cpu"):
        problem = json.dumps(case.problem.to_json())
        for backend in suite.backends:
            command = [sys.executable, "-c", CHILD, problem, backend, str(seconds)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[case.name, backend] = float(done.stdout)
    return found


def half_width(replicates: Sequence[float]) -> float:
    """Of the 95 % interval, on the log scale."""
    found = estimate(replicates)
    assert found.high is not None
    return math.log(found.high / found.value)


def replicates_for(width: float, *, had: int, had_width: float) -> int:
    """Replicates that give an interval of ``width`` at the scatter seen."""
    scatter = had_width * math.sqrt(had) / stdtrit(had - 1, 0.975)
    return next(count for count in itertools.count(2) if stdtrit(count - 1, 0.975) * scatter <= width * count**0.5)


def print_comparison(suite: Suite, seconds: float) -> None:
    """Part b."""
    processes = suite.measure.processes
    began = time.monotonic()
    theirs = [their_replicate(suite, seconds)]
    their_s = time.monotonic() - began
    outcome = run(suite)
    began = time.monotonic()
    theirs += [their_replicate(suite, seconds) for _ in range(processes - 1)]
    their_s += time.monotonic() - began

    assert outcome.stored is not None
    cells = {(row["case"], row["backend"]): processes_of(row) for row in outcome.stored.table.to_dict("records")}
    blocks_by_cell = {cell: found for cell, found in cells.items() if found}
    widths = [half_width(list(found.values())) for found in blocks_by_cell.values()]
    their_widths = [half_width([replicate[cell] for replicate in theirs]) for cell in blocks_by_cell]
    width, their_width = statistics.median(widths), statistics.median(their_widths)
    needed = replicates_for(width, had=processes, had_width=their_width)
    rows = {
        "wall time": (outcome.elapsed_s, their_s, "s"),
        "half-width, median cell": (100 * width, 100 * their_width, "%"),
        "for our width, by squares": (outcome.elapsed_s, their_s * (their_width / width) ** 2, "s"),
        f"for our width, {needed} replicates": (outcome.elapsed_s, their_s * needed / processes, "s"),
    }
    print(
        f"{f'{len(widths)} cells, {processes} x {seconds:g} s':32} {'attnbench':>10} {'Timer':>10} {'ours/theirs':>14}"
    )
    for title, (ours, other, unit) in rows.items():
        print(f"{title:32} {ours:8.1f} {unit} {other:8.1f} {unit} {ours / other:14.3f}")
    print("0.5 or less in the last two rows: the same certainty in at most half the wall time.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("a", "b"), help="one part instead of both")
    parser.add_argument("--before", type=Path, metavar="TREE", help="in part a, compare with another revision's tree")
    parser.add_argument("--pairs", type=int, default=3, help="runs of either revision")
    parser.add_argument("--quick-only", action="store_true", help="part a without the suite of five minutes")
    parser.add_argument("--seconds", type=float, default=1.0, help="timed per cell and replicate, in part b")
    parser.add_argument("--replicates", type=int, default=3, help="of either method, in part b")
    arguments = parser.parse_args()

    seconds: float = arguments.seconds
    with tempfile.TemporaryDirectory() as name:
        cells = Path(name) / "cells.yaml"
        cells.write_text(CELLS)
        five_minutes = load(cells, "measure.max_time_s=3.5")
        both = load(cells, f"measure.max_time_s={seconds}", f"measure.processes={arguments.replicates}")
    if arguments.part != "b" and arguments.before:
        print_before_and_now(arguments.before, arguments.pairs)
    elif arguments.part != "b":
        outcomes = {"quick": run(load("quick"))}
        if not arguments.quick_only:
            outcomes["24 cells, 3.5 s"] = run(five_minutes)
        print_shares(outcomes)
        print("Only timed samples make intervals narrower; everything else is what a run costs besides.\n")
    if arguments.part != "a":
        print_comparison(both, seconds)


if __name__ == "__main__":
    main()
