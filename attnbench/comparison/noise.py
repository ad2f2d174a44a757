"""How far a machine scatters where nothing changed: what an A/A measurement leaves behind for later comparisons."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnbench.comparison import rules
from attnbench.comparison.cells import Cell
from attnbench.core.errors import NotComparableError, StoredRunError
from attnbench.core.record import fingerprint_mismatch
from attnbench.results.journal import RESULTS
from attnbench.results.table import PROBLEM

NOISE = "noise.json"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """One cell, measured in pairs of processes that do the same."""

    pairs: tuple[float, ...]
    """log(second / first) of every pair."""
    processes: tuple[float, ...]
    """The logarithm of every process's latency over its own anchors."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """An A/A measurement of a suite on a machine."""

    path: str
    suite: str
    device: str
    started_at: str
    fingerprint: Mapping[str, Any]
    cells: Mapping[Cell, Scatter]
    unmeasured: int = 0
    """Cells of the suite that could not be measured."""

    def floors(self) -> dict[Cell, float]:
        """By cell, the variance of a pair."""
        return {cell: variance for cell, (variance, _) in rules.spread_of(self._paired()).items()}

    def errors(self, processes: Mapping[Cell, tuple[int, int]]) -> dict[Cell, tuple[float, float]]:
        """By cell, the standard error of the difference between two means of processes, and its degrees of freedom.

        Args:
            processes: By cell, of how many processes each of the two is the mean.
        """
        spreads = rules.spread_of({cell: found.processes for cell, found in self.cells.items()})
        return {
            cell: (math.sqrt(spreads[cell][0] * sum(1 / count for count in counts)), spreads[cell][1])
            for cell, counts in processes.items()
            if cell in spreads
        }

    def detectable(self, *, fail_above: float = rules.PAIRED_MARGIN) -> dict[Cell, float]:
        """By cell, the smallest slowdown that ``ab`` would confirm here in every other case."""
        return rules.detectable_in_pairs(self._paired(), fail_above=fail_above)

    def _paired(self) -> dict[Cell, tuple[float, ...]]:
        return {cell: found.pairs for cell, found in self.cells.items()}

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with the schema's version."""
        cells = [
            {
                "case": cell[0],
                "backend": cell[1],
                "problem": dict(zip(PROBLEM, cell[2:], strict=True)),
                "pairs": list(found.pairs),
                "processes": list(found.processes),
            }
            for cell, found in self.cells.items()
        ]
        known = {name: getattr(self, name) for name in ("suite", "device", "started_at", "unmeasured")}
        return {"schema_version": VERSION, **known, "fingerprint": dict(self.fingerprint), "cells": cells}


def read_noise(path: Path) -> Noise:
    """What an A/A measurement left behind.

    Args:
        path: ``noise.json``, or the directory that holds it.

    Raises:
        StoredRunError: There is none, it is damaged, or a newer version wrote it.
    """
    file = path / NOISE if path.is_dir() else path
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        version = int(data["schema_version"])
    except OSError as error:
        raise StoredRunError(f"{file} cannot be read: {error.strerror}; give what attnbench noise wrote") from None
    except (ValueError, KeyError, TypeError):
        raise StoredRunError(f"{file}:1: not an A/A measurement; the file is damaged") from None
    if version > VERSION:
        raise StoredRunError(
            f"{file}: written by a newer attnbench (noise schema {version}, this one reads up to {VERSION}); upgrade"
        )
    try:
        cells = {
            (cell["case"], cell["backend"], *(cell["problem"][name] for name in PROBLEM)): Scatter(
                pairs=_logs(cell["pairs"]), processes=_logs(cell["processes"])
            )
            for cell in data["cells"]
        }
        known = {name: str(data[name]) for name in ("suite", "device", "started_at")}
        return Noise(
            path=str(file.parent),
            fingerprint=dict(data["fingerprint"]),
            cells=cells,
            unmeasured=int(data["unmeasured"]),
            **known,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoredRunError(f"{file}: not an A/A measurement: {error}; the file is damaged") from None


def _logs(given: Sequence[float]) -> tuple[float, ...]:
    found = tuple(map(float, given))
    if len(found) < 2 or not all(map(math.isfinite, found)):  # noqa: PLR2004 - there is no scatter without two
        raise ValueError(f"{list(found)} are no two logarithms or more")
    return found


def find_noise(directories: Iterable[Path], fingerprint: Mapping[str, Any]) -> Noise | None:
    """The newest A/A measurement of that fingerprint below some directories; damaged ones are passed over."""
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
    """The A/A measurement that was named, or else the newest of this machine under ``results``; None where none is.

    Raises:
        StoredRunError: The one that was named is none.
        NotComparableError: It is of another machine.
    """
    fingerprint = environment.get("fingerprint", {})
    if given is None:
        return find_noise([RESULTS], fingerprint)
    noise = read_noise(given)
    if fields := fingerprint_mismatch(noise.fingerprint, fingerprint):
        raise NotComparableError(f"the A/A measurement {given} was not measured alike: {'; '.join(fields)}")
    return noise
