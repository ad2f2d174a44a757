"""Resuming an interrupted run: what it holds already, and whether it may be resumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from attnbench.core.errors import NotComparableError, OutputError, StoredRunError, UsageError
from attnbench.core.record import Case, Ceilings, Environment, Record, Status
from attnbench.results.journal import ENVIRONMENT, JOURNAL, SUITE, read_environment, read_journal
from attnbench.suite.expansion import Suite, load_suite

_SAME = ("torch", "cuda", "driver", "python", "packages", "flags", "participants")
"""Besides the fingerprint, what must not change in the middle of a run."""


@dataclass(kw_only=True)
class Progress:
    """What a run has so far."""

    done: set[tuple[int, int]] = field(default_factory=set)
    """Position and process of every record."""
    failed: set[int] = field(default_factory=set)
    """Positions of cells that failed: they are not tried again."""
    ceilings: dict[str, tuple[Ceilings, ...]] = field(default_factory=dict)
    """By dtype, for every amount of data that was copied, the highest over rounds."""
    timeouts: list[Record] = field(default_factory=list)
    """Records of cells that timed out."""
    attempts: int = 1
    """After so many failures a cell is given up; after one that nothing excuses, at once."""
    _failures: Counter[int] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        """Take in one record."""
        self.done.add((record.position, record.round))
        if record.status is Status.TIMEOUT:
            self.timeouts.append(record)
        if record.status is not Status.OK:
            self._failures[record.position] += 1
            if not record.status.excusable or self._failures[record.position] >= self.attempts:
                self.failed.add(record.position)
        if found := record.ceilings:
            known = {one.copied_bytes: one for one in self.ceilings.get(record.problem.dtype, ())}
            known[found.copied_bytes] = found.highest(known.get(found.copied_bytes, found))
            self.ceilings[record.problem.dtype] = tuple(known.values())


def check_suite(directory: Path, suite: Suite, known_backends: Sequence[str]) -> None:
    """See that a directory holds a run of this very suite.

    Args:
        directory: The run's.
        suite: What is to be resumed.
        known_backends: Names that mean a backend.

    Raises:
        StoredRunError: It is not a run.
        UsageError: The suite is another one: with what differs.
    """
    if not directory.is_dir():
        raise StoredRunError(f"--resume {directory}: not a directory that exists; give the directory of a run")
    if not (directory / JOURNAL).is_file():
        raise StoredRunError(f"--resume {directory}: there is no {JOURNAL}; give the directory of a run")
    for name in (SUITE, ENVIRONMENT):
        if not (directory / name).is_file():
            raise StoredRunError(f"--resume {directory}: it lacks {name}; measure again")
    before = load_suite(directory / SUITE, known_backends=known_backends)
    for name in ("name", "device"):
        _compare(directory, name, getattr(before, name), getattr(suite, name))
    _compare(directory, "backends", *(tuple(map(str, one.resolved)) for one in (before, suite)))
    for name, value in asdict(before.measure).items():
        _compare(directory, f"measure.{name}", value, getattr(suite.measure, name))


def check_cases(directory: Path, cases: Sequence[Case], device: str, known_backends: Sequence[str]) -> None:
    """See that the suite stands for the same cases as before.

    Raises:
        UsageError: It does not: with the first case that differs.
    """
    before = load_suite(directory / SUITE, known_backends=known_backends).cases(device)
    for old, new in zip(before, cases, strict=False):
        _compare(directory, "the case", old.name, new.name)
        for part in fields(old.problem):
            _compare(
                directory,
                f"{part.name} of case {new.name!r}",
                getattr(old.problem, part.name),
                getattr(new.problem, part.name),
            )
    _compare(directory, "the number of cases", len(before), len(cases))


def check_environment(directory: Path, environment: Environment, *, commit: bool = False) -> Environment:
    """See that the machine, and what is installed there, is what it was.

    Args:
        directory: The run's.
        environment: As it is now.
        commit: Whether the commit must be the same, too.

    Returns:
        The environment as it was stored.

    Raises:
        NotComparableError: It is not: with what differs.
        StoredRunError: What was stored is damaged.
    """
    before = read_environment(directory)
    same = (*_SAME, "commit") if commit else _SAME
    old = before.fingerprint | {name: getattr(before, name) for name in same}
    new = environment.fingerprint | {name: getattr(environment, name) for name in same}
    for name, value in old.items():
        if value != new[name]:
            was, now = _difference(value, new[name])
            raise NotComparableError(
                f"--resume {directory}: {name} was {was} and is {now}; "
                "one run is measured in one environment: measure again"
            )
    return before


def read_progress(directory: Path, cases: Sequence[Case], backends: Sequence[str], *, attempts: int = 1) -> Progress:
    """What the journal of a run holds.

    Raises:
        StoredRunError: It is damaged, or holds cells that this suite does not have there.
    """
    progress = Progress(attempts=attempts)
    names = [(case.name, backend) for case in cases for backend in backends]
    for record in read_journal(directory):
        if record.position >= len(names) or names[record.position] != (record.case, record.backend):
            raise StoredRunError(
                f"{directory / JOURNAL}: holds {record.backend} on {record.case!r}, which this suite does not have "
                f"in that place; measure again"
            )
        progress.add(record)
    return progress


def check_writable(directory: Path) -> None:
    """See that a journal can be appended to.

    Raises:
        OutputError: It cannot.
    """
    try:
        (directory / JOURNAL).open("ab").close()
    except OSError as error:
        raise OutputError(f"{directory / JOURNAL} cannot be written: {error.strerror}") from None


def _compare(directory: Path, what: str, before: object, now: object) -> None:
    if before != now:
        raise UsageError(
            f"--resume {directory}: {what} was {_spelled(before)} and is {_spelled(now)}; "
            f"give the suite as it was ({directory / SUITE}), or measure again"
        )


def _spelled(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _difference(before: object, now: object) -> tuple[str, str]:
    """Of two mappings what differs, else the two."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)][:3]
        return tuple(  # type: ignore[return-value]
            ", ".join(f"{name} {values.get(name, 'absent')}" for name in names) for values in (before, now)
        )
    return str(before), str(now)
