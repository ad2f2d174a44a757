"""What is known of cells while they are at work, and what all of them have in common."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from attnbench.core.conditions import Conditions
from attnbench.core.problem import Problem
from attnbench.core.protocol import Expected, Introduced, Profiled, Turned, Variation
from attnbench.core.record import Environment, Measure, Record, Status
from attnbench.run.events import Cell
from attnbench.run.participant_process import Usage
from attnbench.run.process_pool import Participant, ProcessPool

_HUNG_CASES = 2


class CellEnds(Exception):
    """Ends a cell with a status and a reason."""

    def __init__(self, status: Status, reason: str, *, spoils: bool = True) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.spoils = spoils
        """Whether its process is not to be relied on any more."""


class KilledFromOutside(Exception):
    """Somebody killed the process: nothing is known of the cell."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What was found of a cell when it was checked in full; in later rounds what is timed is checked."""

    max_error: float
    profiled: Profiled
    joules: float | None


@dataclass(kw_only=True)
class Work:
    """A cell at work: what is known of it so far."""

    cell: Cell
    participant: Participant
    problem: Problem
    outputs: int = -1
    """The file that its outputs come in."""
    expected: Expected | None = None
    known: Known | None = None
    calls_per_loop: int = 1
    expected_s: float = 0.0
    variation: Variation = field(default_factory=Variation)
    """Of the inputs as they are now."""
    timed_variation: Variation = field(default_factory=Variation)
    """As they were when they were sampled last."""
    turns: list[Turned] = field(default_factory=list)
    spent_s: float = 0.0
    """Of the budget."""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    queued_s: float = 0.0
    """In its turns it waited so long for a core that somebody else had."""
    unexplained_s: list[float] = field(default_factory=list)
    """Of every turn, what the parent's clock counted and the participant neither claims nor waited for a core."""
    left: tuple[float, float] | None = None
    """Its CPU time and the parent's clock when its last turn was over."""
    idle_s: float = 0.0
    """Between its turns."""
    idle_cpu_s: float = 0.0
    """CPU time that it took meanwhile."""
    resident_bytes: list[int] = field(default_factory=list)
    """After every turn."""
    fastest_ms: float = math.inf
    """Of all samples, also of turns that do not count."""
    fastest_variation: Variation = field(default_factory=Variation)
    """Of the inputs of its turn, the first of several."""
    checked: bool = False
    tries_fresh: bool = True
    """Whether a call on new values is tried."""
    fresh_calls: int = 0
    """So many calls on new values were asked for."""
    drawn: int = 0
    """The turn that will be checked in any case."""
    retaken: int = 0
    conditions: Conditions | None = None
    spent: dict[str, float] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """Taken so far."""
        return sum(len(turn.samples_ms) for turn in self.turns)

    @property
    def calls(self) -> int:
        """Timed so far."""
        return sum(turn.calls for turn in self.turns)

    @property
    def bytes(self) -> int:
        """Memory that it holds between turns, and needs in one."""
        return self.known.profiled.held_bytes + self.known.profiled.peak_bytes if self.known else 0

    def end_idleness(self, cpu_s: float, now_s: float) -> None:
        """Count what it did since its last turn; what it did before its first one is its own business."""
        if self.left is not None:
            self.idle_cpu_s += cpu_s - self.left[0]
            self.idle_s += now_s - self.left[1]
            self.left = None

    def see_fastest(self, turned: Turned, variation: Variation) -> None:
        """Remember of which inputs the fastest sample was."""
        fastest_ms = min(turned.samples_ms, default=math.inf)
        if fastest_ms < self.fastest_ms:
            self.fastest_ms, self.fastest_variation = fastest_ms, variation

    def count(self, turned: Turned, wall_s: float, used: Usage, *, threads: int) -> None:
        """Count a turn.

        Args:
            turned: What it says of itself.
            wall_s: How long it took by the parent's clock.
            used: What it used of the machine's cores, as the system says.
            threads: That it may use.
        """
        self.turns.append(turned)
        self.spent_s += turned.timed_s
        self.wall_s += wall_s
        self.cpu_s += used.cpu_s
        queued_s, others_s = used.queued_s, used.cpu_s - used.main_thread_s
        if math.isnan(queued_s):
            queued_s, others_s = max(0.0, wall_s - used.cpu_s), 0.0
        self.unexplained_s.append(wall_s - turned.whole_s - queued_s)
        # A thread of its own may be what its main thread waits for.
        self.queued_s += max(0.0, queued_s - max(0.0, others_s)) if threads == 1 else queued_s

    def begin_again(self) -> None:
        """Forget what was found; what it took stays counted, and the file stays open."""
        anew = Work(
            cell=self.cell, participant=self.participant, problem=self.problem, outputs=self.outputs, spent=self.spent
        )
        vars(self).update(vars(anew))

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the time inside to a part of what the cell took."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.spent[part] = self.spent.get(part, 0.0) + time.monotonic() - began


@dataclass(kw_only=True)
class Hangs:
    """Which participants timed out in which cases: one that always does is not given the long deadline every time."""

    cases: dict[str, set[str]] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Take in one record."""
        if record.status is Status.TIMEOUT:
            self.cases.setdefault(record.backend, set()).add(record.case)

    def limit(self, label: str, measure: Measure) -> tuple[float, str]:
        """The deadline of a first call, and its name in a suite."""
        if len(self.cases.get(label, ())) >= _HUNG_CASES and measure.hung_timeout_s < measure.prepare_timeout_s:
            return measure.hung_timeout_s, f"hung_timeout_s: it timed out in {_HUNG_CASES} cases before"
        return measure.prepare_timeout_s, "prepare_timeout_s"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all cases of a session have in common."""

    pool: ProcessPool
    environment: Environment
    """The device and its caches."""
    measure: Measure
    introduced: Mapping[Participant, Introduced]
    """What the backends said of themselves."""
    baseline: str
    """The label that stands in every company where not all fit into memory at once."""
    turn_s: float
    """How long one samples before the next one does."""
    abandon: Callable[[], bool]
    """Asked a few times a second whether to give up."""
    hangs: Hangs = field(default_factory=Hangs)
    moves: dict[str, list[int]] = field(default_factory=dict)
    """By case, how inputs move for calls on new values: alike in all its cells, so that one reference is enough."""
    known: dict[tuple[str, Participant], Known] = field(default_factory=dict)
    """What was found of cells, by case, once they were timed."""


def share_of(conditions: Conditions | None, work: Work, company: Sequence[Work], own_s: float) -> Conditions | None:
    """A cell's part of what the machine did while its case was sampled."""
    if conditions is None:
        return None
    # The rest of the time this run was handing over; what others took of it is taken to be the same.
    share = work.wall_s / max(conditions.wall_s, 1e-9)
    others_s = max(0.0, conditions.others_s - own_s - sum(one.cpu_s for one in company))
    return replace(
        conditions,
        wall_s=work.wall_s,
        own_s=work.cpu_s,
        steal_s=conditions.steal_s * share,
        others_s=others_s * share,
        involuntary_switches=sum(turn.involuntary_switches for turn in work.turns),
        page_faults=sum(turn.page_faults for turn in work.turns) / max(work.calls, 1),
        retaken_turns=work.retaken,
    )
