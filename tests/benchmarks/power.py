"""What ``attnbench ab`` sees of slowdowns that are really there, on this machine as it is now. Run as a script.

    python -m tests.benchmarks.power --tables 5

Two directories hold one module with five backends, as two revisions of somebody's kernels would. All attend to every
window and then once more to some of them, in the candidate to so many more that a call has 0, 3, 5, 10 or 25 % more
windows to compute. So a slowdown is made of the same work as the rest, and of as many calls.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

SUITE = """\
name: power
device: cpu
backends: ["injected:Plus0", "injected:Plus3", "injected:Plus5", "injected:Plus10", "injected:Plus25"]
cases:
  - {name: large maps, batch: 2, resolution: 56, window: 7, heads: 2, scope: windows}
  - {name: small maps, batch: 8, resolution: 28, window: 7, heads: 2, scope: windows}
measure: {max_time_s: 0.2}
"""
TWICE = 32
"""Of 128 windows, those that the base computes twice."""
MORE = {"Plus0": 0, "Plus3": 5, "Plus5": 8, "Plus10": 16, "Plus25": 40}
"""Windows of 160 that the candidate computes besides: 3.1, 5, 10 and 25 %."""
MODULE = """
from torch.nn.functional import scaled_dot_product_attention

from attnbench.backends.base import Backend


class _Twice(Backend):
    again = 0

    def unsupported(self, problem):
        return []

    def prepare(self, problem, *, device, bias):
        return self.attend

    def attend(self, qkv):
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        out = scaled_dot_product_attention(query, key, value)
        scaled_dot_product_attention(query[: self.again], key[: self.again], value[: self.again])
        return out.transpose(1, 2)
"""


def module(*, candidate: bool) -> str:
    """The backends of one side."""
    classes = (f"class {name}(_Twice):\n    again = {TWICE + candidate * more}\n" for name, more in MORE.items())
    return "\n\n".join([MODULE, *classes])


def table(directory: Path) -> tuple[dict[str, list[dict[str, Any]]], float]:
    """The cells of one comparison by what was injected, and how long it took."""
    suite = directory / "power.yaml"
    suite.write_text(SUITE)
    for side in ("base", "candidate"):
        (directory / side).mkdir()
        (directory / side / "injected.py").write_text(module(candidate=side == "candidate"))
    began = time.monotonic()
    asked = [
        "ab", str(suite), "--base-path", str(directory / "base"), "--candidate-path", str(directory / "candidate"),
        "--output", str(directory / "pairs"), "--format", "json",
    ]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "attnbench", *asked], capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:
        raise SystemExit(done.stderr)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for cell in json.loads(done.stdout)["cells"]:
        found[cell["backend"].removeprefix("injected:")].append(cell)
    return found, time.monotonic() - began


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=5)
    arguments = parser.parse_args()
    cells: dict[str, list[dict[str, Any]]] = defaultdict(list)
    seconds = []
    for _ in range(arguments.tables):
        with tempfile.TemporaryDirectory() as name:
            found, took_s = table(Path(name))
        seconds.append(took_s)
        for injected, some in found.items():
            cells[injected] += some
    print(f"{arguments.tables} tables of 10 cells, {min(seconds):.0f} to {max(seconds):.0f} s each")
    for injected, more in MORE.items():
        some = cells[injected]
        seen = sum(cell["verdict"] == "regressed" for cell in some)
        interval = binomtest(seen, len(some)).proportion_ci(method="wilson")
        ratio = statistics.median(cell["ratio"]["value"] for cell in some)
        print(
            f"{1 + more / (128 + TWICE):.3f} injected, {ratio:.3f} found in the median: regressed in {seen} of "
            f"{len(some)} cells ({interval.low:.0%} to {interval.high:.0%})"
        )


if __name__ == "__main__":
    main()
