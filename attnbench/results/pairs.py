"""What lies beside the two runs of an A/B comparison: which environments they are of, and how they were paired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from attnbench.core import files
from attnbench.core.text import check_time

BASE, CANDIDATE = "base", "candidate"
Place = tuple[str, int]
"""A cell of either side: its case, and the place of its backend in the suite."""
ATTEMPTS = 2
"""A cell that fails in so many processes is broken; in fewer, it is suspect."""
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Party:
    """One of the two environments."""

    environment: str
    """As it was named: an interpreter or a virtual environment."""
    python: str
    path: str | None = None
    """The directory that came first on its Python path, as it was named."""
    own_backends: int | None = None
    """How many of its backends were imported from there; None without such a directory."""


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Two runs whose processes of the same number belong together."""

    FILE: ClassVar[str] = "pairs.json"

    kind: str
    """``ab``, or ``noise``: both sides are the same."""
    max_rounds: int
    """Rounds that a cell gets at most."""
    started_at: str
    backends: tuple[tuple[str, str], ...]
    """The two sides' backends, place by place."""
    parties: Mapping[str, Party]
    """By side."""
    finished: bool = False
    """Whether all was measured that there is to measure."""

    def __post_init__(self) -> None:
        if set(self.parties) != {BASE, CANDIDATE}:
            raise ValueError(f"parties must be {BASE} and {CANDIDATE}")
        check_time("started_at", self.started_at)

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with the schema's version."""
        return {"schema_version": VERSION, **asdict(self)}


def read_pairing(directory: Path) -> Pairing:
    """What a directory says of its two runs.

    Raises:
        StoredRunError: It is no A/B comparison, is damaged, or another version wrote it.
    """
    hint = "give the directory that attnbench ab wrote"
    return files.load(Pairing, directory / Pairing.FILE, version=VERSION, what="an A/B comparison", hint=hint)
