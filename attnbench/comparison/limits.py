"""What fails a comparison: thresholds of cells, and cells that are set aside."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from attnbench.core.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much slower a cell must be to fail; a cell is named ``CASE`` or ``CASE/BACKEND``, the longer name first."""

    fail_above: float | None = None
    """The slowdown that fails, such as 0.03; None for the default of the kind of comparison."""
    own: Mapping[str, float] = field(default_factory=dict)
    """By name, a slowdown that differs from it."""
    flaky: Collection[str] = ()
    """Names of cells that are shown and never counted."""

    def of(self, case: str, backend: str, *, default: float) -> float:
        """The slowdown that fails a cell."""
        usual = default if self.fail_above is None else self.fail_above
        return next((self.own[name] for name in _names(case, backend) if name in self.own), usual)

    def sets_aside(self, case: str, backend: str) -> bool:
        """Whether a cell never counts."""
        return not set(self.flaky).isdisjoint(_names(case, backend))

    def check(self, cells: Iterable[tuple[str, str]]) -> None:
        """See that every name is that of a cell.

        Args:
            cells: Case and backend of every cell there is.

        Raises:
            UsageError: One is not.
        """
        known = {name: None for case, backend in cells for name in _names(case, backend)}
        for option, names in (("--fail-above", self.own), ("--flaky", self.flaky)):
            for name in names:
                if name not in known:
                    raise UsageError(
                        f"{option}: there is no case or cell {name!r:.80} "
                        f"(allowed: CASE or CASE/BACKEND, such as {next(reversed(known), 'none: there are no cells')})"
                    )


def _names(case: str, backend: str) -> tuple[str, str]:
    return f"{case}/{backend}", case
