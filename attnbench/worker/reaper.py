"""Ends everything that a process started, whatever became of its session and its environment.

A process that calls ``adopt_orphans`` is the parent of whatever its descendants leave behind, so that ``end_children``
finds it. Run as a script, this module starts a command and, when the command or its own parent has ended, however
that happens, ends all that is left of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection
from pathlib import Path
from types import FrameType

_SET_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36
"""prctl(2)."""
_MOST_PASSES = 200
_PASS_S = 0.005


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_SUBREAPER, 1)


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Get a signal when the parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, number)


def end_first() -> None:
    """Be the one that the system kills when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def end_children(*, but: Collection[int] = ()) -> None:
    """Kill every child, and what thereby becomes one, until none is left.

    Args:
        but: Those that stay.
    """
    for _ in range(_MOST_PASSES):
        children = [child for child in _children() if child not in but]
        if not children:
            return
        for child in children:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        for child in children:
            with contextlib.suppress(OSError):
                os.waitpid(child, os.WNOHANG)
        time.sleep(_PASS_S)


def _open_descriptors() -> list[int]:
    try:
        return [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    except OSError:
        return [3]


def _children() -> list[int]:
    own = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    try:
        return [int(child) for child in own.read_text(encoding="ascii").split()]
    except OSError:
        return [pid for pid in _processes() if _parent(pid) == os.getpid()]


def _processes() -> list[int]:
    try:
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except OSError:
        return []


def _parent(pid: int) -> int:
    try:
        return int(
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[1]
        )
    except (OSError, ValueError):
        return -1


def _main(command: list[str]) -> None:
    parent = os.getppid()
    adopt_orphans()
    end_with_parent(signal.SIGTERM)

    def end(_: int, __: FrameType | None) -> None:
        end_children()
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reaper = os.getpid()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        end_with_parent()
        if os.getppid() != reaper:
            os._exit(1)
        os.execv(command[0], command)
    if os.getppid() != parent:  # it ended before there was a signal for that
        end(0, None)
    # Whoever holds the other ends of the child's sockets must see when it is gone.
    os.closerange(3, max(256, *_open_descriptors()) + 1)
    while True:
        ended, status = os.wait()
        if ended == child:
            break
    end_children()
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    _main(sys.argv[1:])
