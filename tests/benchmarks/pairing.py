"""How far pairs scatter whose two sides are the same: by the length of turns, and on one core or on any.

Four cells are measured as ``attnbench ab`` does, in each way, one way after the other, and all of that several times,
so that the machine's moods meet all of them. Run as a script.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

from attnbench.backends import registry
from attnbench.comparison.pairs import read_pairs
from attnbench.results.pairs import BASE, CANDIDATE
from attnbench.run import session as sessions
from attnbench.run.participant_process import ParticipantProcess
from attnbench.run.runner import open_pairs
from attnbench.run.sides import Side
from attnbench.suite.expansion import load_suite

CELLS = """\
name: pairing
device: cpu
backends: [naive, sdpa]
sweep: {resolution: [14, 28], window: 7, heads: 4}
measure: {max_time_s: 0.2}
"""
WAYS = {
    "50 ms, any core": (0.05, False),
    "50 ms, one core": (0.05, True),
    "20 ms, one core": (0.02, True),
    "10 ms, one core": (0.01, True),
}


def scatter(seconds: float, *, one_core: bool, pairs: int) -> Iterator[float]:
    """Standard deviations of the log ratios of pairs, a cell after the other."""
    with tempfile.TemporaryDirectory() as name, mock.patch.object(sessions, "_PAIRED_TURN_S", seconds):
        path = Path(name) / "pairing.yaml"
        path.write_text(CELLS)
        suite = load_suite(path, known_backends=registry.names(), overrides=())
        sides = {
            side: Side(suite=suite, name=side, known_backends=tuple(registry.names())) for side in (BASE, CANDIDATE)
        }
        core = ParticipantProcess.core if one_core else lambda _: None  # without one, nothing is pinned
        with (
            mock.patch.object(ParticipantProcess, "core", core),
            open_pairs(sides, kind="ab", max_rounds=pairs, output=Path(name) / "pairs") as session,
        ):
            for _ in session.measure(range(pairs)):
                pass
        for cell in read_pairs(session.directory).cells.values():
            yield statistics.stdev(cell.logs.values())


def print_table(found: dict[str, list[float]], first: str) -> None:
    """A way to a row: the scatter, and how many pairs it takes beside the first way for the same interval."""
    print(f"{'turns':18}{'scatter of a pair':>20}{'pairs needed beside the first':>34}")
    known = _typical(found[first])
    for way, deviations in found.items():
        print(f"{way:18}{_typical(deviations):20.1%}{(_typical(deviations) / known) ** 2:34.2f}")


def _typical(deviations: Sequence[float]) -> float:
    return math.sqrt(statistics.fmean(one**2 for one in deviations))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15, help="of every cell, each time")
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(arguments.repeats):
        for way, (seconds, one_core) in WAYS.items():
            found[way] += scatter(seconds, one_core=one_core, pairs=arguments.pairs)
    print_table(found, next(iter(WAYS)))


if __name__ == "__main__":
    main()
