"""How a process with torch is started, so that its attnbench is the one that started it."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
# Ours comes first, installed or not, whatever else is on the path or in the working directory; nothing else is looked
# for where it lies.
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); import attnbench; sys.path.pop(0); "
    "from attnbench.worker.starter import main; main(sys.argv[2], int(sys.argv[3]), sys.argv[4])"
)


def command(python: str, role: str, descriptor: int, path: str = "") -> list[str]:
    """What to execute.

    Args:
        python: The interpreter.
        role: ``starter``, ``judge`` or ``participant``.
        descriptor: The process's end of a socket to the parent.
        path: A directory that comes first on a participant's Python path; empty for none.
    """
    return [python, "-P", "-u", "-c", _BOOT, str(_ROOT), role, str(descriptor), path]
