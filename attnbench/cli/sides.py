"""The two sides of ``ab`` and ``noise``, from options to interpreters and suites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnbench.run.session import Session, Side


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One side as it was asked for, and the options that did, for messages."""

    environment: str | None
    environment_option: str
    path: Path | None
    path_option: str
    backend: str | None = None
    backend_option: str = "--backend"


def read_sides(
    suite: str, wanted: Mapping[str, Wanted], *, backends: Sequence[str], overrides: Sequence[str], pairs: int
) -> dict[str, Side]:
    """The two sides as they can be measured.

    Args:
        suite: A suite's file, or the name of one that comes with attnbench.
        wanted: By side.
        backends: Backends to run instead of the suite's.
        overrides: ``key=value`` pairs that change the suite.
        pairs: Pairs of the first stage.

    Raises:
        UsageError: An environment, a directory, the suite or a backend is not what was meant.
    """
    from attnbench.backends import registry
    from attnbench.core.errors import UsageError
    from attnbench.run.interpreter import check_path, find_interpreter, this_interpreter
    from attnbench.run.session import Side
    from attnbench.suite import load_suite

    if any(override.partition("=")[0].strip() == "measure.processes" for override in overrides):
        raise UsageError("--set measure.processes: how many processes there are is part of the rule; leave it out")
    interpreters = {}
    alone = any(side.environment for side in wanted.values())
    for name, side in wanted.items():
        check_path(side.path, side.path_option)
        interpreters[name] = (
            this_interpreter(path=side.path, alone=alone)
            if side.environment is None
            else find_interpreter(side.environment, side.environment_option, path=side.path)
        )
    installed = (found for one in interpreters.values() for found in one.backends)
    known = tuple(sorted({*registry.names(), *installed}))
    return {
        name: Side(
            name=name,
            suite=load_suite(
                suite,
                known_backends=known,
                backends=[side.backend] if side.backend else backends,
                backends_option=side.backend_option,
                overrides=[*overrides, f"measure.processes={pairs}"],
            ),
            interpreter=interpreters[name],
            named=side.environment or "this environment",
            known_backends=known,
        )
        for name, side in wanted.items()
    }


def open_sides(
    sides: Mapping[str, Side],
    *,
    kind: str,
    pairs: int,
    output: Path | None,
    resume: Path | None,
    wait: bool,
    like: Mapping[str, Any] | None = None,
) -> AbstractContextManager[Session]:
    """``open_pairs``, for the commands that measure two sides."""
    from attnbench.cli.progress import opened
    from attnbench.run.runner import open_pairs

    def attempt(*, wait: bool) -> AbstractContextManager[Session]:
        return open_pairs(sides, kind=kind, pairs=pairs, output=output, resume=resume, wait=wait, like=like)

    return opened(attempt, wait=wait)
