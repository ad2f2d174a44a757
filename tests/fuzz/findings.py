"""What mutations led to: every kind of finding is said once, with what leads to it."""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable
from typing import Protocol


class Fuzz(Protocol):
    def __call__(self, *, count: int, seed: int, seconds: float | None = None) -> int: ...


class Findings:
    """Counts findings of a kind: alike but for numbers and quoted text.

    Args:
        say: Takes the first finding of every kind.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._kinds: Counter[str] = Counter()

    def add(self, why: str, story: str, *, group: str = "") -> None:
        """Count one, and say how it came about if it is the first of its kind."""
        kind = group + re.sub(r"\d+|'.*'|\".*\"", "_", why)[:150]
        self._kinds[kind] += 1
        if self._kinds[kind] == 1:
            self._say(story)

    def told(self) -> int:
        """Say how many there are of every kind; their number."""
        for kind, times in self._kinds.items():
            self._say(f"{times} x {kind}")
        return self._kinds.total()


def run_script(fuzz: Fuzz, description: str | None, *, count: int) -> None:
    """Run a fuzz script from the command line; exits with 1 if there are findings."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = fuzz(count=given.count, seed=given.seed, seconds=given.seconds)
    print(f"{found} findings")
    sys.exit(bool(found))
