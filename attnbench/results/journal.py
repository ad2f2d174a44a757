"""The journal: one line per finished (cell, process), on disk before the next starts; and the environment beside it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from attnbench.core import files
from attnbench.core.errors import LostOutputError, OutputError, StoredRunError
from attnbench.core.record import SCHEMA_VERSION, Environment, Record

JOURNAL = "journal.jsonl"
ENVIRONMENT = "environment.json"
SUITE = "suite.yaml"
"""Files of a run directory that are written while it is measured."""
RESULTS = Path("results")
"""Where run directories lie, below the working directory."""
_REMOVE = "remove the line, and the rest can be read (--resume measures its cell again)"


class Journal:
    """Appends records; each is safe when ``append`` returns.

    A torn last line, as a killed run leaves it, is cut off.

    Raises:
        OutputError: It cannot be opened.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / JOURNAL
        try:
            self._file = self._path.open("ab", buffering=0)
            self._lock()
            whole, newline, torn = self._path.read_bytes().rpartition(b"\n")
            if torn:
                self._file.truncate(len(whole) + len(newline))
        except BlockingIOError:
            self._file.close()
            raise OutputError(f"{self._path} is being written by another run; let it finish") from None
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror}") from None

    def _lock(self) -> None:
        """Keep other runs away, where the disk has locks: some clusters mount theirs without."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL):
                raise

    def append(self, record: Record) -> None:
        """Write one line and wait until the disk has it.

        Raises:
            LostOutputError: The disk is full, or the directory is gone. What was written before stays readable.
        """
        line = json.dumps(record.to_json(), separators=(",", ":")).encode() + b"\n"
        start = self._file.tell()
        try:
            written = 0
            while written < len(line):  # a nearly full disk takes a part
                written += self._file.write(line[written:])
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(start)
            raise LostOutputError(
                f"{self._path} cannot be written: {error.strerror}; what it holds stays: make room and resume with "
                f"--resume {self._path.parent}"
            ) from None
        if not os.fstat(self._file.fileno()).st_nlink:
            raise LostOutputError(f"{self._path} was removed while the run wrote to it; nothing more can be kept")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_journal(directory: Path, *, check: Callable[[Record, int], None] = lambda *_: None) -> Iterator[Record]:
    """The records of a run, oldest first. A torn last line, as a killed run leaves it, is passed over.

    Args:
        directory: The run's.
        check: Looks at every record and its line.

    Raises:
        StoredRunError: A line other than the last is not a record, or comes from another version.
    """
    path = directory / JOURNAL
    try:
        file = files.opened(path)
    except OSError as error:
        raise StoredRunError(f"{path} cannot be read: {error.strerror}") from None
    with file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            record = files.parse(
                Record, line, path, line=number, version=SCHEMA_VERSION, what="a record", advice=_REMOVE
            )
            check(record, number)
            yield record


def read_environment(directory: Path) -> Environment:
    """The environment of a run.

    Raises:
        StoredRunError: There is none, it is damaged, or another version wrote it.
    """
    file = directory / ENVIRONMENT
    found = files.load(Environment, file, version=SCHEMA_VERSION, what="an environment", derived=("fingerprint",))
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", found.machine):  # it names directories
        raise StoredRunError(
            f"{file}: machine {found.machine!r:.80} is not allowed (allowed: a-z, 0-9 and single '-'); "
            "the file is damaged"
        )
    return found.plain()
