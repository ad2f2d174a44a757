"""A/A tests: how much a machine's processes differ where nothing changed, kept for later comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from attnbench.comparison import history_rule
from attnbench.comparison.cell_verdict import CellKey
from attnbench.comparison.pairs import Pairs
from attnbench.comparison.pairs_rule import MARGIN, Budget, detectable
from attnbench.core.errors import NotComparableError, StoredRunError
from attnbench.core.files import load, read
from attnbench.core.problem import Problem
from attnbench.core.record import fingerprint_mismatch
from attnbench.results.journal import RESULTS
from attnbench.results.table import PROBLEM

NOISE = "noise.json"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class CellNoise:
    """One cell in an A/A test."""

    case: str
    backend: str
    problem: Problem
    pairs: tuple[float, ...]
    """log(candidate / base) of every pair."""
    processes: tuple[float, ...]
    """The log latency over its own anchors, of every process."""

    def __post_init__(self) -> None:
        for logs in (self.pairs, self.processes):
            if len(logs) < 2 or not all(map(math.isfinite, logs)):  # noqa: PLR2004 - one value has no variance
                raise ValueError(f"{list(logs)} must be two or more finite numbers")

    @property
    def key(self) -> CellKey:
        """The cell in other comparisons."""
        return (self.case, self.backend, *(getattr(self.problem, name) for name in PROBLEM))


@dataclass(frozen=True, kw_only=True)
class Noise:
    """An A/A test of a suite on a machine."""

    suite: str
    """The suite's name."""
    device: str
    """The device's own name."""
    started_at: str
    """UTC, ISO 8601."""
    fingerprint: Mapping[str, str | int | None]
    """What must be equal for this to say something of another run."""
    cells: tuple[CellNoise, ...]
    """Those that were measured on both sides."""
    unmeasured: int = 0
    """Cells of the suite that were not measured on both sides."""
    path: str = ""
    """The directory that it was read from."""

    def errors(self, processes: Mapping[CellKey, tuple[int, int]]) -> dict[CellKey, tuple[float, float]]:
        """By cell, the standard error of the difference between two means of processes, and its degrees of freedom.

        Args:
            processes: By cell, the number of processes in each of the two means.
        """
        spreads = history_rule.spread_of({cell.key: cell.processes for cell in self.cells})
        return {
            key: (math.sqrt(spreads[key][0] * sum(1 / count for count in counts)), spreads[key][1])
            for key, counts in processes.items()
            if key in spreads
        }

    def detectable(self, *, fail_above: float = MARGIN) -> dict[CellKey, float]:
        """By cell, the smallest slowdown that ``ab`` confirms here with a power of one half."""
        budget = Budget(cells=len(self.cells))
        found = {cell.key: detectable(cell.pairs, budget, fail_above) for cell in self.cells}
        return {key: ratio for key, ratio in found.items() if ratio is not None}

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with the schema's version."""
        fields = asdict(self)
        del fields["path"]
        return {"schema_version": VERSION, **fields}


def measured_noise(pairs: Pairs) -> Noise:
    """The A/A test that pairs of one environment with itself are."""
    environment = pairs.base.environment
    cells = []
    for cell in pairs.cells.values():
        if cell.measured is None or len(cell.logs) < 2:  # noqa: PLR2004 - one value has no spread
            continue
        row = cell.measured[1].row
        cells.append(
            CellNoise(
                case=row["case"],
                backend=row["backend"],
                problem=read(Problem, {name: row[name] for name in PROBLEM}),
                pairs=tuple(cell.logs.values()),
                processes=tuple(log for side in cell.measured for log in side.anchored),
            )
        )
    return Noise(
        path=str(pairs.path),
        suite=str(pairs.base.suite.get("name", "")),
        device=str(environment.get("device_name", "")),
        started_at=pairs.pairing.started_at,
        fingerprint=dict(environment.get("fingerprint", {})),
        cells=tuple(cells),
        unmeasured=len(pairs.cells) - len(cells),
    )


def read_noise(path: Path) -> Noise:
    """A stored A/A test.

    Args:
        path: ``noise.json``, or the directory that holds it.

    Raises:
        StoredRunError: There is none, it is damaged, or another version wrote it.
    """
    file = path / NOISE if path.is_dir() else path
    noise = load(Noise, file, version=VERSION, what="an A/A test", hint="give what attnbench noise wrote")
    return replace(noise, path=str(file.parent))


def find_noise(directories: Iterable[Path], fingerprint: Mapping[str, Any]) -> Noise | None:
    """The newest A/A test of that fingerprint below some directories; damaged ones are ignored."""
    found = []
    for file in {file for directory in directories for file in directory.glob(f"**/{NOISE}")}:
        try:
            noise = read_noise(file)
        except StoredRunError:
            continue
        if not fingerprint_mismatch(noise.fingerprint, fingerprint):
            found.append(noise)
    return max(found, key=lambda noise: noise.started_at, default=None)


def usable_noise(given: Path | None, environment: Mapping[str, Any]) -> Noise | None:
    """The A/A test ``given``, or else the newest of this machine under ``results/``, if any.

    Raises:
        StoredRunError: ``given`` is not an A/A test.
        NotComparableError: It is of another machine.
    """
    fingerprint = environment.get("fingerprint", {})
    if given is None:
        return find_noise([RESULTS], fingerprint)
    noise = read_noise(given)
    if fields := fingerprint_mismatch(noise.fingerprint, fingerprint):
        raise NotComparableError(f"the A/A test {given} was not measured alike: {'; '.join(fields)}")
    return noise
