"""One run at a time on a device: two would measure one another."""

from __future__ import annotations

import contextlib
import errno
import getpass
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from attnbench.core.errors import BusyError, OutputError
from attnbench.run.child_process import Abandoned

LOCKS = "ATTNBENCH_LOCKS"
"""The environment variable that names the locks' directory: containers that share a device share it."""
_EVERYONE = 0o777
_POLL_S = 0.2


@contextmanager
def device_lock(
    device_id: str, *, holder: str, wait: bool = False, abandon: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Hold a device while entered; the system releases it when this process ends, however that happens.

    Args:
        device_id: What tells the device from every other of this machine.
        holder: The command and its suite, to be read by whoever comes next.
        wait: Whether to wait where another run holds it.
        abandon: Asked a few times a second whether to give up.

    Raises:
        BusyError: Another run holds it.
        OutputError: There is no place for locks.
        Abandoned: ``abandon`` said so.
    """
    path = _path(device_id)
    directory, note = path.parent, path.with_suffix(".holder")
    lock = FileLock(path, mode=_EVERYONE & ~0o111)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # then it is somebody's, and stays as it is
            directory.mkdir()
            directory.chmod(_EVERYONE)
        if not directory.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
        while True:
            try:
                with warnings.catch_warnings(action="ignore"):  # of a disk without locks, where a file must do
                    lock.acquire(timeout=0)
                break
            except Timeout:
                pass
            if not wait:
                raise BusyError(f"{device_id} is in use by {_read(note)}")
            if abandon():
                raise Abandoned
            time.sleep(_POLL_S)
        with contextlib.suppress(PermissionError):  # another user made it, for everyone
            path.chmod(_EVERYONE & ~0o111)
        note.unlink(missing_ok=True)
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        note.write_text(f"attnbench {holder} (process {os.getpid()} of {_user()}, since {since})", encoding="utf-8")
    except (OSError, NotImplementedError) as error:  # older versions of the library say so of a disk without locks
        why = error.strerror if isinstance(error, OSError) else "the disk has no locks"
        raise OutputError(f"{path} cannot be locked: {why}; name another directory in {LOCKS}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink()
        lock.release()


def holder_of(device_id: str) -> str | None:
    """Which run has the device; None where none has, as far as this user may know."""
    import psutil

    holder = _path(device_id).with_suffix(".holder")
    said = _read(holder) if holder.exists() else ""
    process = re.search(r"process (\d{1,9})\b", said)
    return said if process and psutil.pid_exists(int(process[1])) else None


def _path(device_id: str) -> Path:
    directory = Path(os.environ.get(LOCKS) or Path(tempfile.gettempdir()) / "attnbench-locks")
    return directory / f"{re.sub(r'[^A-Za-z0-9-]+', '-', device_id)}.lock"


def _read(holder: Path) -> str:
    try:
        return holder.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # others may write it, too
        return "another run"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as containers have
        return f"user {os.getuid()}"
