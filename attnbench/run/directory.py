"""The directory of a run: where it is, that it can be written, and that it appears whole or not at all."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from attnbench.core.errors import LostOutputError, OutputError
from attnbench.core.files import rename_directory, write_json
from attnbench.core.record import Environment
from attnbench.results.journal import ENVIRONMENT, JOURNAL, RESULTS, SUITE
from attnbench.results.places import UNFINISHED

_BEGUN = (SUITE, ENVIRONMENT)
"""Files that are written before the journal."""


def run_directory(output: Path | None, *, suite: str, machine: str) -> Path:
    """``output`` exactly, or ``results/<suite>/<machine>/<UTC time>-<id>``."""
    if output is not None:
        return output
    time = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return RESULTS / suite / machine / f"{time}-{secrets.token_hex(2)}"


def never_started(directory: Path) -> bool:
    """Whether a run was to be kept here, and was killed before there was anything to keep."""
    if directory.is_dir():
        return all(file.name in _BEGUN or file.name.startswith(".") for file in directory.iterdir())
    return not directory.exists() and _unfinished(directory).is_dir()


def begin_again(directory: Path) -> None:
    """Remove what a run that never started left in its directory."""
    if directory.is_dir():
        for name in _BEGUN:
            with contextlib.suppress(OSError):
                (directory / name).unlink(missing_ok=True)
        for leftover in directory.glob(".*"):
            with contextlib.suppress(OSError):
                leftover.unlink()


def check_output(output: Path | None) -> None:
    """Find out whether a run could be stored, without leaving anything.

    Raises:
        OutputError: The directory exists and holds something, is a file, or cannot be made.
    """
    directory = output if output is not None else RESULTS
    if output is not None and output.is_dir() and any(output.iterdir()):
        raise OutputError(f"{output} exists and is not empty; give a new directory, or remove it")
    if directory.exists() and not directory.is_dir():
        raise OutputError(f"{directory} is a file; give a directory")
    with _made(directory if output is None else _place(directory), named=directory) as place:
        probe = place / f".attnbench-write-test-{secrets.token_hex(4)}"
        try:
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise OutputError(f"{directory} cannot be written: {error.strerror}; give another --output") from None


@contextmanager
def reserved(output: Path | None) -> Iterator[None]:
    """While entered, it can be seen that a run will be kept in ``output``, which --resume then starts if it must.

    What is made here goes again, unless a run has begun to be written in it.

    Raises:
        OutputError: The directory exists and holds something, is a file, or cannot be made.
    """
    check_output(output)
    if output is None:
        yield
        return
    with _made(_place(output), named=output):
        yield


@contextmanager
def appearing(directory: Path) -> Iterator[Path]:
    """Gives a directory to fill, which then becomes ``directory``: nobody ever finds a part of it.

    A directory that is there already, as a mounted one is, is filled as it stands; only its journal makes it a run.

    Raises:
        OutputError: It cannot be made or written.
    """
    is_new, unfinished = not directory.is_dir(), _place(directory)
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        yield unfinished
        if is_new:
            rename_directory(unfinished, directory, last=JOURNAL)
    except (OSError, LostOutputError) as error:
        if not is_new:
            begin_again(directory)
        why = f"{directory} cannot be written: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise OutputError(f"{why}; give another --output") from None
    finally:
        if is_new:
            shutil.rmtree(unfinished, ignore_errors=True)


def fill(directory: Path, suite: str, environment: Environment) -> None:
    """Write into a directory all that is known before anything is measured, and an empty journal.

    Args:
        directory: Where.
        suite: The YAML as run.
        environment: The machine.

    Raises:
        OSError: It cannot be written.
        LostOutputError: ``environment.json`` cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / SUITE).write_text(suite, encoding="utf-8")
    write_environment(directory, environment)
    (directory / JOURNAL).touch()


def write_environment(directory: Path, environment: Environment) -> None:
    """Write ``environment.json`` whole.

    Raises:
        LostOutputError: It cannot be written.
    """
    write_json(directory / ENVIRONMENT, environment.to_json())


def _place(directory: Path) -> Path:
    """Where a run is written until it has begun: beside its directory, or in it where that is there already."""
    return directory if directory.is_dir() else _unfinished(directory)


def _unfinished(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}{UNFINISHED}")


@contextmanager
def _made(directory: Path, *, named: Path) -> Iterator[Path]:
    """A directory that is there while entered; what had to be made for it, and stayed empty, goes again."""
    missing = [place for place in (directory, *directory.parents) if not place.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{named} cannot be made: {error.strerror}; give another --output") from None
    try:
        yield directory
    finally:
        with contextlib.suppress(OSError):  # not empty: a run has begun, or somebody else uses it
            for place in missing:
                place.rmdir()
