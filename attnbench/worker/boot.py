"""How a process with torch is started, so that its attnbench is the one that started it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
# Ours comes first, installed or not, whatever else is on the path or in the working directory; nothing else is looked
# for where it lies.
_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); import attnbench; sys.path.pop(0); "
_SERVE = "from attnbench.worker.starter import main; main(sys.argv[2], int(sys.argv[3]), sys.argv[4])"
_VERIFY = "from attnbench.worker.verification import main; main(sys.argv[2], sys.argv[3:])"


def command(python: str, role: str, descriptor: int, path: str = "") -> list[str]:
    """What to execute.

    Args:
        python: The interpreter.
        role: ``starter``, ``judge`` or ``participant``.
        descriptor: The process's end of a socket to the parent.
        path: A directory that comes first on a participant's Python path; empty for none.
    """
    return [python, "-P", "-u", "-c", _BOOT + _SERVE, str(_ROOT), role, str(descriptor), path]


def verification_command(python: str, device: str, names: Sequence[str]) -> list[str]:
    """What to execute for checks of the harness that need torch.

    Args:
        python: The interpreter.
        device: As torch spells it.
        names: Of ``attnbench.worker.verification.CHECKS``.
    """
    return [python, "-P", "-u", "-c", _BOOT + _VERIFY, str(_ROOT), device, *names]
