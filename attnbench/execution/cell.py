"""A cell at work inside a worker: what is known of it so far, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import Tensor

from attnbench.backends.whole_map import WrongShape
from attnbench.execution.failure import describe_error, is_out_of_memory
from attnbench.measure.call import Call
from attnbench.measure.state import TorchState
from attnbench.measure.timing import Sampler
from attnbench.oracle import Expectation
from attnbench.record import Record, Spent, Status

_LONGEST_REASON = 2000


class Refusal(Exception):
    """Ends a cell with a status and a reason."""

    def __init__(self, status: Status, reason: str, *, spoils: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.spoils = spoils


@dataclass
class Clock:
    """Adds up the seconds spent in each part of a cell."""

    spent: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def restart(self) -> None:
        """Begin the next part now."""
        self._since = time.perf_counter()

    def lap(self, part: str) -> None:
        """Add the time since the last part to ``part``."""
        now = time.perf_counter()
        self.spent[part] = self.spent.get(part, 0.0) + now - self._since
        self._since = now


@dataclass(kw_only=True)
class Cell:
    """A cell at work: what is known of it so far."""

    record: Record
    clock: Clock = field(default_factory=Clock)
    call: Call | None = None
    timed: Callable[[Tensor], object] | None = None
    """The call itself, or a graph that holds it."""
    sampler: Sampler | None = None
    state: TorchState | None = None
    """torch's switches as this cell left them."""
    expectation: Expectation | None = None
    x: Tensor | None = None

    def fail(self, error: BaseException) -> None:
        """End the cell with what the error means."""
        if isinstance(error, Refusal):
            status, reason = error.status, error.reason
        elif isinstance(error, WrongShape):
            status, reason = Status.WRONG_RESULT, str(error)
        else:
            status = Status.OOM if is_out_of_memory(error) else Status.ERROR
            reason = describe_error(error)
        self.clock.lap("prepare_s")  # what a failing cell took since its last part
        spent = Spent(**self.clock.spent)
        self.record = replace(self.record, status=status, reason=reason[:_LONGEST_REASON] or status, spent=spent)
        self.call = self.timed = self.sampler = self.expectation = self.x = None


class Spoiled(Exception):
    """This process may no longer be able to measure anything right."""
