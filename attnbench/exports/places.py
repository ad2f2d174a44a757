"""Where in a repository a backend failed: annotations of a CI job point there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PLACE = re.compile(r"\(([\w.+-]+\.pyx?):(\d+)\)")
"""How reasons name the line that raised: its file without the directory."""
_FOREIGN = ("site-packages", "node_modules", "results", "__pycache__")
_MOST_DIRECTORIES = 5000


@dataclass(frozen=True, kw_only=True)
class CodePlace:
    """A line of code."""

    file: str
    """Relative to its repository, as far as it is known which file of that name is meant."""
    line: int

    def __str__(self) -> str:
        """As compilers write it."""
        return f"{self.file}:{self.line}"


def place_of(reason: str) -> CodePlace | None:
    """The line that a reason names last; None where it names none."""
    named = _PLACE.findall(reason)
    if not named:
        return None
    file, line = named[-1]
    root = Path(os.environ.get("GITHUB_WORKSPACE") or os.environ.get("CI_PROJECT_DIR") or Path.cwd())
    found = {str(path) for path in _files(root, file)}
    return CodePlace(file=found.pop() if len(found) == 1 else file, line=int(line[:9]))


@cache
def _files(root: Path, name: str) -> tuple[Path, ...]:
    """Files of a name below a directory, each relative to its repository: a job checks out base and candidate."""
    return tuple(dict.fromkeys(_walk(root, name)))


def _walk(root: Path, name: str) -> Iterator[Path]:
    repositories = {root: root}
    for seen, (place, below, files) in enumerate(os.walk(root)):
        here = Path(place)
        if seen > _MOST_DIRECTORIES:
            return
        below[:] = [one for one in below if not one.startswith(".") and one not in _FOREIGN]
        repositories[here] = here if (here / ".git").exists() else repositories.get(here.parent, root)
        if name in files:
            yield (here / name).relative_to(repositories[here])
