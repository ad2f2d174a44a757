"""Files as CI jobs need them: whole or not there, or appended to; and why one could not be written."""

from __future__ import annotations

import os
from pathlib import Path

from attnbench.core.errors import LostOutputError


def replace(path: Path, text: str) -> None:
    """Write a file beside its place, then rename it into it, so that nobody ever reads half of it.

    Raises:
        LostOutputError: It cannot be written; what was there before is still there.
    """
    try:
        target = path.resolve()  # a link stays a link
        if why := _unlike_a_file(target):
            raise LostOutputError(f"{path} cannot be written: {why}")
        target.parent.mkdir(parents=True, exist_ok=True)
        # None of tempfile's: those can be read by their owner alone, and who uploads a report may be somebody else.
        unfinished = target.with_name(f".attnbench-{os.getpid()}.unfinished")
        try:
            unfinished.write_bytes(_encoded(text))
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise _lost(path, error) from None


def append(path: Path, text: str) -> None:
    """Append lines to a file.

    Raises:
        LostOutputError: They cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(_encoded(text if _ends_a_line(path) else f"\n{text}"))
    except OSError as error:
        raise _lost(path, error) from None


def size_bytes(path: Path) -> int:
    """The file's size; 0 where it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def obstacle(path: Path, *, appends: bool = False) -> str | None:
    """Why a file cannot be written, as far as that is known without writing it, or None.

    Args:
        path: The file.
        appends: Whether what it holds already shall stay.
    """
    try:
        target = path.resolve()
        if why := _unlike_a_file(target):
            return why
        if appends and target.exists():
            return None if os.access(target, os.W_OK) else "it cannot be appended to"
        directory = next(parent for parent in target.parents if parent.exists())
        if not directory.is_dir():
            return f"{directory} is a file"
        return None if os.access(directory, os.W_OK | os.X_OK) else f"{directory} cannot be written to"
    except OSError as error:
        return error.strerror


def is_directory(path: Path) -> bool:
    """Whether it is one, as far as anybody can tell."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _unlike_a_file(target: Path) -> str | None:
    # Renaming something over /dev/null would take it from every other program.
    if not target.exists() or target.is_file():
        return None
    return "it is a directory" if target.is_dir() else "it is no regular file"


def _ends_a_line(path: Path) -> bool:
    if size_bytes(path) == 0:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _lost(path: Path, error: OSError) -> LostOutputError:
    return LostOutputError(f"{path} cannot be written: {error.strerror or error}")


def _encoded(text: str) -> bytes:
    # Half of a surrogate pair, in a name that was no text to begin with, shall not cost a file of good rows.
    return text.encode("utf-8", "backslashreplace")
