"""Checks that need torch, made by a process of their own."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence

from attnbench.core.files import read
from attnbench.core.verification import Figure
from attnbench.worker.boot import verification_command

TIMEOUT_S = 240.0
_LONGEST = 300


def checked_inside(device: str, names: Sequence[str], *, timeout_s: float = TIMEOUT_S) -> Iterator[Figure]:
    """The figures of checks; a check that the process did not survive fails.

    Args:
        device: As torch spells it.
        names: Of ``attnbench.worker.verification.CHECKS``.
        timeout_s: For all of them.
    """
    done: set[str] = set()
    why = ""
    try:
        ended = subprocess.run(  # noqa: S603
            verification_command(sys.executable, device, names),
            capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        printed, said = ended.stdout, ended.stderr
        why = f"the process ended with {ended.returncode}" if ended.returncode else ""
    except subprocess.TimeoutExpired as late:
        printed, said = _text(late.stdout), _text(late.stderr)
        why = f"it took longer than {timeout_s:g} s"
    for line in printed.splitlines():
        values = json.loads(line)
        figure = read(Figure, {**values, "most": math.inf if values["most"] is None else values["most"]})
        done.add(figure.check)
        yield figure
    if why:
        last = (said.strip().splitlines() or [""])[-1][:_LONGEST]
        for name in names:
            if name not in done:
                yield Figure(check=name, broken=": ".join(filter(None, (why, last))))


def _text(found: bytes | str | None) -> str:
    return found.decode(errors="replace") if isinstance(found, bytes) else found or ""
