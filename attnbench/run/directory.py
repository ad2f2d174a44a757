"""The directory of a run: where it is, and that it can be written before anything is measured."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path

from attnbench.core.errors import OutputError
from attnbench.core.files import write_json
from attnbench.core.record import Environment
from attnbench.results.journal import ENVIRONMENT, RESULTS, SUITE


def run_directory(output: Path | None, *, suite: str, machine: str) -> Path:
    """``output`` exactly, or ``results/<suite>/<machine>/<UTC time>-<id>``."""
    if output is not None:
        return output
    time = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return RESULTS / suite / machine / f"{time}-{secrets.token_hex(2)}"


def check_output(output: Path | None) -> None:
    """Find out early whether a run could be stored.

    Raises:
        OutputError: The directory exists and holds something, is a file, or cannot be made.
    """
    directory = output if output is not None else RESULTS
    if output is not None and output.is_dir() and any(output.iterdir()):
        raise OutputError(f"{output} exists and is not empty; give a new directory, or remove it")
    if directory.exists() and not directory.is_dir():
        raise OutputError(f"{directory} is a file; give a directory")
    create(directory)
    probe = directory / ".attnbench-write-test"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"{directory} cannot be written: {error.strerror}; give another --output") from None


def create(directory: Path) -> None:
    """Make ``directory`` with its parents.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{directory} cannot be made: {error.strerror}; give another --output") from None


def start(directory: Path, suite: str, environment: Environment) -> None:
    """Make a run directory with all that is known before anything is measured.

    Args:
        directory: Where.
        suite: The YAML as run.
        environment: The machine.

    Raises:
        OutputError: It cannot be written.
    """
    create(directory)
    try:
        (directory / SUITE).write_text(suite, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{directory} cannot be written: {error.strerror}; give another --output") from None
    write_environment(directory, environment)


def write_environment(directory: Path, environment: Environment) -> None:
    """Write ``environment.json`` whole.

    Raises:
        LostOutputError: It cannot be written.
    """
    write_json(directory / ENVIRONMENT, environment.to_json())
