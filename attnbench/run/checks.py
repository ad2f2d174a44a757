"""What a participant says of its turns, beside what this process and the system saw of them."""

from __future__ import annotations

import math

from attnbench.core.problem import Problem
from attnbench.core.protocol import Turned
from attnbench.core.record import Status
from attnbench.run.cell_state import CellEnds, Work

_CLOCK_SHARE, _CLOCK_S = 1e-3, 1e-3
"""How much more than it took a turn may claim: nothing, but for rounding."""
_CPU_SHARE, _CPU_TURN_S = 0.03, 1e-3
"""How much more CPU time than it claims a cell may take: handing over."""
_IDLE_SHARE, _IDLE_TURN_S = 0.03, 1e-3
"""CPU time that a participant may take between its turns: sleeping takes none."""
_FRESH_SHARE, _FRESH_MS, FEWEST_FRESH = 2.0, 0.1, 20
"""How much longer than repeated calls one on new values may take: the shortest of one in each of so many turns."""
_CALLED_SHARE = 0.8
"""The least that timed calls take of the time in which nothing else is done, less what it waited for a core: the system
takes that away most often between loops, where a call of its own returns."""
_LOST_SHARE, _LOST_S = 0.1, 5e-3
"""How much longer than it claims, waiting for a core aside, a turn may take: the shortest of all of them."""
_LATE_SHARE, _LATE_S = 0.05, 1e-3
_LEAST_LEAK_BYTES, _LEAK_SHARE = 2**25, 0.5
"""Memory that a participant may come to hold while it is sampled; of its output with every call."""


def check_turn(turned: Turned, wall_s: float) -> None:
    """What a turn says of itself, beside the clock of this process.

    Raises:
        CellEnds: It cannot be.
    """
    samples = turned.samples_ms
    if not samples or not all(0 < sample < math.inf for sample in samples):
        raise CellEnds(Status.WRONG_RESULT, "it gave samples that are no times: its clock stands still or runs back")
    mean_ms = 1e3 * turned.called_s / turned.calls if turned.calls > 0 else 0.0
    if not min(samples) <= (1 + _CLOCK_SHARE) * mean_ms < math.inf:
        raise CellEnds(
            Status.WRONG_RESULT,
            f"it says that {turned.calls} calls took {turned.called_s:.3g} s, and the fastest {min(samples):.3g} ms",
        )
    claimed_s = max(turned.called_s, turned.timed_s, turned.whole_s)
    if claimed_s > (1 + _CLOCK_SHARE) * wall_s + _CLOCK_S:
        raise CellEnds(
            Status.WRONG_RESULT,
            f"it claims {claimed_s:.3g} s for a turn of {wall_s:.3g} s: its clock is not the machine's",
        )
    if turned.late_s > _LATE_SHARE * wall_s + _LATE_S:
        raise CellEnds(
            Status.WRONG_RESULT,
            f"the device worked on for {turned.late_s:.3g} s after the last timed call of a turn had ended",
        )


def check_claims(work: Work, threads: int, *, hot: bool) -> None:
    """On a CPU, what a cell claims beside the CPU time that the system counted: being descheduled is no crime.

    Args:
        work: The cell.
        threads: That it may use.
        hot: Whether nothing but calls is timed: where caches are overwritten in between, that takes time, too.

    Raises:
        CellEnds: It took more than it claims.
    """
    claimed_s = sum(turn.whole_s for turn in work.turns)
    called_s, timed_s = (sum(getattr(turn, name) for turn in work.turns) for name in ("called_s", "timed_s"))
    if hot and called_s < _CALLED_SHARE * (timed_s - work.queued_s):
        raise CellEnds(
            Status.WRONG_RESULT,
            f"it says that its calls took {called_s:.3g} s of the {timed_s:.3g} s in which it did nothing else",
        )
    least_s = min(
        (lost_s - _LOST_SHARE * turn.whole_s for lost_s, turn in zip(work.unexplained_s, work.turns, strict=False)),
        default=0.0,
    )
    if least_s > _LOST_S:
        raise CellEnds(
            Status.WRONG_RESULT,
            f"each of its turns took {least_s:.3g} s or more beyond what it claims and what it waited for a core: its "
            "clock is slow",
        )
    if work.cpu_s > (1 + _CPU_SHARE) * threads * claimed_s + _CPU_TURN_S * len(work.turns):
        what = f"it took {work.cpu_s:.3g} s of CPU time in turns of which it claims {claimed_s:.3g} s"
        raise CellEnds(
            Status.WRONG_RESULT,
            f"{what}: more than measure.threads allows ({threads}), or its clock is slow",
        )


def check_idle(work: Work) -> None:
    """On a CPU, a participant sleeps while others have their turns.

    Raises:
        CellEnds: It does not.
    """
    if work.idle_cpu_s > _IDLE_SHARE * work.idle_s + _IDLE_TURN_S * len(work.turns):
        took = f"{work.idle_cpu_s:.3g} s of CPU time in {work.idle_s:.3g} s"
        raise CellEnds(Status.ERROR, f"threads of it were still at work after its turns: {took}")


def check_leak(work: Work) -> None:
    """A call gives its memory back once its output is let go.

    Raises:
        CellEnds: It does not.
    """
    calls = sum(turn.calls for turn in work.turns[1:])
    kept_bytes = work.resident_bytes[-1] - work.resident_bytes[0]
    # A heap that is touched for the first time grows by a few inputs.
    allowed_bytes = _LEAST_LEAK_BYTES + 2 * work.bytes
    if calls and kept_bytes > max(allowed_bytes, calls * _LEAK_SHARE * _output_bytes(work.problem)):
        raise CellEnds(Status.ERROR, f"it keeps {kept_bytes / calls / 2**20:.2g} MiB of memory with every call")


def longest_fresh_ms(known_ms: float) -> float:
    """How long a call on new values may take where one on values seen before takes so long."""
    return _FRESH_SHARE * known_ms + _FRESH_MS


def _output_bytes(problem: Problem) -> int:
    return problem.batch * problem.height * problem.width * problem.channels * problem.dtype.bytes
