"""Changes that were accepted by name: a file beside a baseline's entries, to be kept in git."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from attnbench.core.errors import UsageError
from attnbench.core.files import load, write_json
from attnbench.core.text import check_time, moment
from attnbench.results.store import StoredRun


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A change of one cell that is meant to stay."""

    case: str
    backend: str
    since: str
    """When the run started that shows it first: UTC, ISO 8601. Earlier runs say nothing of the cell."""
    why: str
    """In a person's words."""

    def __post_init__(self) -> None:
        check_time("since", self.since)

    def is_before(self, started_at: str) -> bool:
        """Whether a run that started then shows it; of a run that does not say, it is taken to be."""
        return not started_at or moment(self.since) <= moment(started_at)

    @property
    def cell(self) -> tuple[str, str]:
        """Case and backend."""
        return self.case, self.backend

    @property
    def sentence(self) -> str:
        """What is to be said of it."""
        return f"Accepted for {self.case}/{self.backend} since {self.since[:10]}: {self.why}"


@dataclass(frozen=True, kw_only=True)
class AcceptedChanges:
    """All of a baseline, the newest of each cell."""

    FILE: ClassVar[str] = "accepted.json"
    VERSION: ClassVar[int] = 1

    changes: tuple[Accepted, ...] = ()

    def with_more(self, more: Sequence[Accepted]) -> AcceptedChanges:
        """With further ones, which take the place of older ones of the same cells."""
        newest = {one.cell: one for one in (*self.changes, *more)}
        return AcceptedChanges(changes=tuple(newest[cell] for cell in sorted(newest)))

    def write(self, directory: Path) -> Path:
        """Write the file of a baseline, whole or not at all; its path.

        Raises:
            LostOutputError: It cannot be written.
        """
        write_json(directory / self.FILE, {"schema_version": self.VERSION, **asdict(self)})
        return directory / self.FILE


def changes(run: StoredRun, cells: Sequence[str], *, why: str) -> list[Accepted]:
    """The change of some cells that a run is the first to show.

    Args:
        run: The run.
        cells: ``CASE/BACKEND``, or ``CASE`` for all its backends.
        why: Why the change is meant to stay.

    Raises:
        UsageError: The run has no such cell, is not known to have started, or there is no reason.
    """
    if not why.strip():
        raise UsageError("--why: say why the change is meant to stay")
    since = run.started_at
    if not since:
        raise UsageError(f"{run.path} has no environment.json, which says when it started; give a run directory")
    found: dict[tuple[str, str], Accepted] = {}
    for name in cells:
        named = [
            (case, backend)
            for case, backend in zip(run.table["case"], run.table["backend"], strict=True)
            if name in (case, f"{case}/{backend}")
        ]
        if not named:
            raise UsageError(
                f"--cell {name}: not in {run.path} (allowed: CASE or CASE/BACKEND, such as "
                f"{run.table['case'].iloc[0]}/{run.table['backend'].iloc[0]})"
            )
        found |= {
            cell: Accepted(case=cell[0], backend=cell[1], since=since, why=" ".join(why.split())) for cell in named
        }
    return list(found.values())


def read_accepted(directory: Path) -> AcceptedChanges:
    """The accepted changes of a baseline; none where there is no file.

    Raises:
        StoredRunError: The file is damaged, or another version wrote it.
    """
    file = directory / AcceptedChanges.FILE
    if not file.exists():
        return AcceptedChanges()
    hint = "attnbench baseline accept writes it"
    return load(AcceptedChanges, file, version=AcceptedChanges.VERSION, what="a list of accepted changes", hint=hint)
