"""What lies below ``results/``: runs and comparisons, newest first, without reading their samples."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from attnbench.core.errors import LostOutputError, StoredRunError, UsageError
from attnbench.core.files import content
from attnbench.core.record import Status
from attnbench.results.journal import ENVIRONMENT, JOURNAL, RESULTS
from attnbench.results.pairs import CANDIDATE, Pairing
from attnbench.results.places import CSV, PARQUET, UNFINISHED, read_suite

LATEST = "latest"
"""Names the newest run wherever a run is asked for."""
_AGES = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A directory that holds a run, or the two sides of a comparison."""

    path: Path
    kind: str
    """``run``, ``ab`` or ``noise``."""
    suite: str
    device: str
    """The device's name."""
    torch: str
    started_at: str
    """ISO 8601, UTC; the time of its files where its environment cannot be read."""
    statuses: dict[str, int]
    """Cells by status; empty where no table was written, as while it is measured."""
    holds_others: bool = False
    """Whether another run lies inside: it stays as long as that does."""

    @property
    def started(self) -> datetime:
        """When it started."""
        return datetime.fromisoformat(self.started_at)


def list_runs(directory: Path = RESULTS) -> list[Listed]:
    """Every run and comparison below a directory, newest first.

    Raises:
        StoredRunError: There is no such directory.
    """
    if not directory.is_dir():
        raise StoredRunError(
            f"{directory} is not a directory that exists; attnbench run SUITE makes one under {RESULTS}/"
        )
    places = _places(directory)
    above = {parent for place in places for parent in place.parents}
    found = [replace(_listed(place), holds_others=place in above) for place in places]
    return sorted(found, key=lambda one: (one.started_at, str(one.path)), reverse=True)


def latest(directory: Path = RESULTS) -> Path:
    """The newest run below a directory; the sides of comparisons do not count.

    Raises:
        StoredRunError: There is none.
    """
    places = [place for place in _places(directory) if not (place / Pairing.FILE).exists()]
    if not places:
        raise StoredRunError(f"{LATEST}: there is no run below {directory}; attnbench run SUITE makes one")
    return max(places, key=lambda place: (_started(place, _environment(place)), str(place)))


def named(path: str | Path) -> Path:
    """The run that a path names; ``latest`` is the newest below ``results/``, unless something of that name exists."""
    found = Path(path)
    return latest() if str(path) == LATEST and not found.exists() else found


def select_old(runs: Sequence[Listed], *, older_than: str | None, keep: int | None, now: datetime) -> list[Listed]:
    """The runs to remove.

    Args:
        runs: Newest first.
        older_than: An age such as ``12h``, ``30d`` or ``8w``.
        keep: How many of every kind, suite and device are kept, the newest ones.
        now: The time that ages end at.

    Returns:
        Those that both rules name, if both are given; never one inside of which another run lies.

    Raises:
        UsageError: No rule is given, or one makes no sense.
    """
    if older_than is None and keep is None:
        raise UsageError("say which runs: --older-than 30d, --keep 10, or both")
    if keep is not None and keep < 0:
        raise UsageError(f"--keep {keep}: not a number of runs (allowed: 0 or more)")
    chosen = list(runs)
    if older_than is not None:
        before = now - _age(older_than)
        chosen = [one for one in chosen if one.started < before]
    if keep is not None:
        seen: Counter[tuple[str, str, str]] = Counter()
        kept: set[Path] = set()
        for one in runs:
            group = (one.kind, one.suite, one.device)
            seen[group] += 1
            if seen[group] <= keep:
                kept.add(one.path)
        chosen = [one for one in chosen if one.path not in kept]
    return [one for one in chosen if not one.holds_others]


def remove(runs: Iterable[Listed]) -> None:
    """Remove run directories, and the directories above that become empty.

    Raises:
        LostOutputError: One cannot be removed.
    """
    for one in runs:
        path = one.path.absolute()
        going = path.with_name(f"{path.name}-{secrets.token_hex(2)}{UNFINISHED}")
        try:
            if len(_places(path)) > 1:
                raise LostOutputError(f"{one.path} is not removed: another run lies in it")
            path.rename(going)  # whoever reads meanwhile sees the whole run or none
            shutil.rmtree(going)
        except OSError as error:
            raise LostOutputError(f"{one.path} cannot be removed: {error.strerror}") from None
        for above in list(one.path.parents)[:2]:
            with contextlib.suppress(OSError):  # it holds other runs
                above.rmdir()


def _age(text: str) -> timedelta:
    parts = re.fullmatch(r"([0-9]{1,5})([hdw])", text)
    if parts is None:
        raise UsageError(f"--older-than {text}: not an age (allowed: hours, days or weeks, as 12h, 30d or 8w)")
    return int(parts[1]) * _AGES[parts[2]]


def _places(directory: Path) -> list[Path]:
    """Run directories and comparisons; the two sides of a comparison are not runs of their own.

    A table that lies above other runs was exported there.
    """
    measured, tables = (
        {file.parent for name in names for file in directory.glob(f"**/{name}")}
        for names in ((JOURNAL, Pairing.FILE), (PARQUET, CSV))
    )
    above = {parent for place in measured for parent in place.parents}
    found = (measured | (tables - above)) - {place for place in measured | tables if _is_side(place)}
    return sorted(place for place in found if not place.name.endswith(UNFINISHED))


def _is_side(place: Path) -> bool:
    return (place.parent / Pairing.FILE).exists()


def _listed(place: Path) -> Listed:
    is_pair = (place / Pairing.FILE).exists()
    inside = place / CANDIDATE if is_pair else place
    environment = _environment(inside)
    suite: dict[str, Any] = {}
    with contextlib.suppress(StoredRunError):
        suite = read_suite(inside)
    return Listed(
        path=place,
        kind=str(_json(place / Pairing.FILE).get("kind", "ab")) if is_pair else "run",
        suite=str(suite.get("name", "")),
        device=str(environment.get("device_name", "")),
        torch=str(environment.get("torch", "")),
        started_at=_started(inside, environment),
        statuses=_statuses(inside),
    )


def _environment(place: Path) -> dict[str, Any]:
    return _json(place / ENVIRONMENT)


def _json(file: Path) -> dict[str, Any]:
    """A file's content; whoever reads the run itself is told what is wrong with it."""
    try:
        data = json.loads(content(file))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _started(place: Path, environment: dict[str, Any]) -> str:
    try:
        return datetime.fromisoformat(str(environment.get("started_at"))).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        try:
            return datetime.fromtimestamp(place.stat().st_mtime, UTC).isoformat()
        except OSError:  # removed meanwhile
            return datetime.fromtimestamp(0, UTC).isoformat()


def _statuses(place: Path) -> dict[str, int]:
    try:
        if (place / PARQUET).exists():
            column = pd.read_parquet(place / PARQUET, columns=["status"])["status"]
        else:
            column = pd.read_csv(place / CSV, usecols=["status"], dtype=str)["status"]
    except (OSError, ValueError):
        return {}
    counts = Counter(column.dropna())
    return {status: counts[status] for status in Status if counts[status]}
