"""Expansion and comparison of 10,000 cells, and the parent's memory against the number of samples: run as a script."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from attnbench.suite.expansion import load_suite

SUITE = """\
name: large
device: cpu
sweep:
  batch: [1, 2, 4, 8, 16]
  resolution: [14, 28, 42, 56, 70]
  window: [2, 7, 14, 7x14]
  heads: [1, 2, 3, 4, 6]
  dtype: [float32, bfloat16]
backends: [naive, sdpa, sdpa_math, sdpa_flash, sdpa_efficient, sdpa_cudnn, sdpa_5d, xformers, flash_attn, swin]
"""
# Writes a journal of 300 cells with the given number of samples each, reads it back, prints the peak resident memory.
JOURNAL = """
import resource, sys, tempfile
from pathlib import Path
from attnbench.results.journal import Journal
from attnbench.core.problem import Problem
from attnbench.core.record import Record, Status
from attnbench.results.store import write_tables
problem = Problem(batch=1, height=14, width=14, window_height=7, window_width=7, heads=1)
with tempfile.TemporaryDirectory() as name:
    with Journal(Path(name)) as journal:
        for cell in range(300):
            samples = tuple(1.0 + sample * 1e-6 for sample in range(int(sys.argv[1])))
            journal.append(Record(case=str(cell), backend="naive", device="cpu", problem=problem, status=Status.OK,
                                  samples_ms=samples, calls=len(samples), mean_ms=1.0, position=cell))
    write_tables(Path(name))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
# Writes a run of 10,000 cells x 5 processes x 50 samples.
RUN = """
import json, random, sys
from dataclasses import replace
from pathlib import Path
from attnbench.core.problem import Problem
from attnbench.core.record import Record, Status
from attnbench.results.store import write_tables
directory, scatter = Path(sys.argv[1]), random.Random(sys.argv[1])
directory.mkdir()
problem = Problem(batch=1, height=14, width=14, window_height=7, window_width=7, heads=1)
with (directory / "journal.jsonl").open("w") as journal:
    for process in range(5):
        for cell in range(10_000):
            samples = tuple(scatter.gauss(2, 0.02) for _ in range(50))
            one = Record(case=str(cell), backend="naive", device="cpu", problem=problem, status=Status.OK,
                         samples_ms=samples, calls=50, mean_ms=2.0, position=cell, round=process, cells=10_000)
            journal.write(json.dumps(one.to_json(), separators=(",", ":")) + chr(10))
write_tables(directory)
"""
# Prints the time and the peak memory of a comparison as a whole process, then the time of rendering 10,000 verdicts.
COMPARE = """
import resource, subprocess, sys, time
began = time.perf_counter()
command = [sys.executable, "-m", "attnbench", "compare", "a", "b", "--format", "csv"]
subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
print(f"comparing two runs of 10,000 cells x 5 processes x 50 samples, a whole process: {seconds:.2f} s, {peak} MiB")
from attnbench.comparison.runs import compare
from attnbench.report import markdown, terminal
from attnbench.report.comparison_table import comparison_table
from attnbench.results.store import read_run
found = compare([read_run("a")], read_run("b"))
for name, render in (("terminal", lambda sheet: terminal.render(sheet, width=120)), ("Markdown", markdown.render)):
    began = time.perf_counter()
    render(comparison_table(found, everything=True))
    print(f"rendering {len(found.cells)} verdicts for the {name}: {time.perf_counter() - began:.2f} s")
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        for run in ("a", "b"):
            subprocess.run([sys.executable, "-c", RUN, run], cwd=name, check=True)
        subprocess.run([sys.executable, "-c", COMPARE], cwd=name, check=True)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "large.yaml"
        path.write_text(SUITE)
        began = time.perf_counter()
        suite = load_suite(path, known_backends=["naive", "sdpa"], backends=["naive", "sdpa"] * 5)
        cases = suite.cases("cpu")
        seconds = time.perf_counter() - began
        print(
            f"expanding {len(cases)} cases x 10 backends = {10 * len(cases)} cells: {seconds:.2f} s, reading included"
        )
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "attnbench", "run", str(path), "--dry-run"], capture_output=True, check=True
        )
        print(f"attnbench run --dry-run of the same, a whole process: {time.perf_counter() - began:.2f} s")
    for samples in (10, 100, 1000):
        done = subprocess.run([sys.executable, "-c", JOURNAL, str(samples)], capture_output=True, text=True, check=True)
        print(f"parent's peak with 300 cells of {samples:4} samples: {done.stdout.strip()} MiB")


if __name__ == "__main__":
    main()
