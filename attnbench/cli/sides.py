"""The two sides of ``ab`` and ``noise``: from options to interpreters and suites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attnbench.run.sides import Side


@dataclass(frozen=True, kw_only=True)
class SideOptions:
    """The options of one side."""

    environment: str | None
    path: Path | None
    backend: str | None = None
    prefix: str = ""
    """How they begin; empty for ``--env`` and ``--path``, which both sides share."""

    def flag(self, name: str = "") -> str:
        """An option as it is typed: that of the environment, or of ``path`` or ``backend``."""
        return "--" + ("-".join(filter(None, (self.prefix, name))) or "env")


def read_sides(
    suite: str,
    options: Mapping[str, SideOptions],
    *,
    backends: Sequence[str],
    cases: Sequence[str],
    overrides: Sequence[str],
    rounds: int,
) -> dict[str, Side]:
    """The two sides as they can be measured.

    Args:
        suite: A suite's file, or the name of one that comes with attnbench.
        options: By side.
        backends: Backends to run instead of the suite's.
        cases: Cases to measure, by name or pattern; none means all.
        overrides: ``key=value`` pairs that change the suite.
        rounds: Rounds of fresh processes that are begun together.

    Raises:
        UsageError: An environment, a directory, the suite or a backend does not exist or fit.
    """
    from attnbench.backends import registry
    from attnbench.core.errors import UsageError
    from attnbench.run.interpreter import check_path, find_interpreter, this_interpreter
    from attnbench.run.sides import Side
    from attnbench.suite.expansion import load_suite

    if any(override.partition("=")[0].strip() == "measure.processes" for override in overrides):
        raise UsageError("--set measure.processes: the rule fixes the number of processes; leave it out")
    interpreters = {}
    alone = any(side.environment for side in options.values())
    for name, side in options.items():
        check_path(side.path, side.flag("path"))
        interpreters[name] = (
            this_interpreter(path=side.path, alone=alone)
            if side.environment is None
            else find_interpreter(side.environment, side.flag(), path=side.path)
        )
    installed = (backend for interpreter in interpreters.values() for backend in interpreter.backends)
    known = tuple(sorted({*registry.names(), *installed}))
    return {
        name: Side(
            name=name,
            suite=load_suite(
                suite,
                known_backends=known,
                backends=[side.backend] if side.backend else backends,
                backends_option=side.flag("backend") if side.backend else "--backend",
                only=cases,
                overrides=[*overrides, f"measure.processes={rounds}"],
            ),
            interpreter=interpreters[name],
            named=side.environment or "this environment",
            known_backends=known,
        )
        for name, side in options.items()
    }
