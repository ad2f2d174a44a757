"""What ``attnbench verify`` finds: one figure a check, with the limits it must keep."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class Answer(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    NOT_HERE = "not here"
    """The machine or the environment has nothing to check it with."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What one check found."""

    check: str
    """Its name, one of ``attnbench.verify.checks``."""
    of: str = ""
    """Which function, size or module it looked at."""
    value: float | None = None
    """None where nothing was found: then ``absent`` or ``broken`` says why."""
    least: float = 0.0
    """The smallest value that passes."""
    most: float = math.inf
    """The largest."""
    absent: str = ""
    """Why it cannot be checked here."""
    broken: str = ""
    """What went wrong while it was checked, or what was found besides the value."""

    @property
    def answer(self) -> Answer:
        """Whether it passes."""
        if self.absent:
            return Answer.NOT_HERE
        passes = not self.broken and self.value is not None and self.least <= self.value <= self.most
        return Answer.PASS if passes else Answer.FAIL
