"""Whether forks of one starter have something in common: an address layout is shared by all of them. Run as a script.

Pairs of two backends are measured as ``attnbench ab`` does, with a new starter after every five rounds. Were layouts to
matter, latencies or ratios would lie closer together inside the five rounds of a starter than between starters: F, the
variance between starters over the one inside, would be above 1. The machine's mood, which changes slowly, raises F as
well; so beside it stands F of groups that begin in the middle of a starter's rounds.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import numpy as np

from attnbench.backends import registry
from attnbench.comparison.pairs import read_pairs
from attnbench.core.record import Status
from attnbench.core.stats import process_statistic
from attnbench.results.journal import read_journal
from attnbench.results.pairs import BASE, CANDIDATE
from attnbench.run import starters as starting
from attnbench.run.runner import open_pairs
from attnbench.run.sides import Side
from attnbench.suite.expansion import load_suite

CELLS = """\
name: starters
device: cpu
backends: [BACKENDS]
sweep: {resolution: [14, 28], window: 7, heads: 2}
measure: {max_time_s: 0.15}
"""
BACKENDS = {BASE: "naive, sdpa", CANDIDATE: "sdpa_5d, sdpa_math"}
EACH = 5
Series = dict[str, list[float]]
"""By what was measured, a logarithm for every round."""


def measured(starters: int) -> Series:
    """Ratios of pairs, and the latencies of either side."""
    rounds = EACH * starters
    with tempfile.TemporaryDirectory() as name:
        sides = {}
        for side, backends in BACKENDS.items():
            path = Path(name) / f"{side}.yaml"
            path.write_text(CELLS.replace("BACKENDS", backends))
            suite = load_suite(path, known_backends=registry.names(), overrides=())
            sides[side] = Side(suite=suite, name=side, known_backends=tuple(registry.names()))
        with (
            mock.patch.object(starting, "_LAYOUTS", 1),
            mock.patch.object(starting, "_ROUNDS_EACH", EACH),
            open_pairs(sides, kind="ab", max_rounds=rounds, output=Path(name) / "pairs") as session,
        ):
            for _ in session.measure(range(rounds)):
                pass
        found: Series = {}
        for cell in read_pairs(session.directory).cells.values():
            found[f"{cell.key}, {cell.label}"] = [cell.logs[number] for number in sorted(cell.logs)]
        for side in BACKENDS:
            records = sorted(read_journal(session.directory / side), key=lambda record: record.round)
            for record in records:
                if record.status is not Status.OK:
                    raise SystemExit(f"{record.case}, {record.backend}: {record.status}: {record.reason}")
                latency_ms = process_statistic(record.samples_ms, "cpu")
                found.setdefault(f"{record.case}, {record.backend}", []).append(math.log(latency_ms))
        return found


def variance_ratio(groups: Sequence[Sequence[float]]) -> float:
    """The variance between groups over the one inside them; 1 where groups have nothing in common."""
    values = np.array(groups)
    return float(values.shape[1] * values.mean(axis=1).var(ddof=1) / values.var(axis=1, ddof=1).mean())


def grouped(values: Sequence[float], first: int) -> Iterator[Sequence[float]]:
    """Groups of as many as a starter serves."""
    for start in range(first, len(values) - EACH + 1, EACH):
        yield values[start : start + EACH]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starters", type=int, default=20)
    arguments = parser.parse_args()
    print(f"{'':64} scatter     F  shifted")
    for name, values in measured(arguments.starters).items():
        theirs, shifted = list(grouped(values, 0)), list(grouped(values, EACH // 2))
        print(f"{name:64} {np.std(values, ddof=1):7.1%} {variance_ratio(theirs):5.2f} {variance_ratio(shifted):8.2f}")


if __name__ == "__main__":
    main()
