"""What the machine did while the cells of a case were sampled: what others took, and what slowed it down."""

from __future__ import annotations

import os
import re
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attnbench.core.conditions import Conditions, Glance
from attnbench.core.control_groups import cpu_groups, waited_s
from attnbench.worker.nvml import ManagedGpu

_STAT = Path("/proc/stat")
_GLANCE_EVERY_S = 0.25
"""Asking a GPU takes about a millisecond."""


@dataclass(frozen=True, kw_only=True)
class Counters:
    """What the operating system counts, in seconds since it started."""

    wall_s: float
    own_s: float
    """CPU time of this process."""
    busy_s: float
    """CPU time of all processes on the cores we may use."""
    steal_s: float
    involuntary_switches: int
    quota_s: float


def read_counters() -> Counters:
    """The counters now; those that a machine does not have stay 0."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    busy_s, steal_s = _cpu_times()
    return Counters(
        wall_s=time.perf_counter(),
        own_s=usage.ru_utime + usage.ru_stime,
        busy_s=busy_s,
        steal_s=steal_s,
        involuntary_switches=usage.ru_nivcsw,
        quota_s=_quota_s(),
    )


class Monitor:
    """Watches while the cells of a case are sampled in turn.

    Args:
        threads: CPU threads of this process.
        gpu: The GPU where the case runs on one that can be asked.
        participants: Processes of this run that may use it.
    """

    def __init__(self, *, threads: int, gpu: ManagedGpu | None = None, participants: Sequence[int] = ()) -> None:
        self._threads = threads
        self._gpu = gpu
        self._participants = participants
        self._glances: list[Glance] = []
        self._glanced = 0.0
        self.start()

    def start(self) -> None:
        """Begin: the first sample comes next."""
        self._glances.clear()
        self._look()
        self._load_before = os.getloadavg()[0]
        self._before = read_counters()

    def glance(self) -> None:
        """Look at the GPU, at most a few times a second."""
        if time.monotonic() - self._glanced > _GLANCE_EVERY_S:
            self._look()

    def conditions(self) -> Conditions:
        """What happened since the start."""
        before, after = self._before, read_counters()
        self._look()
        own_s = after.own_s - before.own_s
        return Conditions(
            wall_s=after.wall_s - before.wall_s,
            load_before=self._load_before,
            load_after=os.getloadavg()[0],
            own_s=own_s,
            steal_s=after.steal_s - before.steal_s,
            others_s=max(0.0, after.busy_s - before.busy_s - own_s),
            involuntary_switches=after.involuntary_switches - before.involuntary_switches,
            quota_s=after.quota_s - before.quota_s,
            cpu_mhz=cpu_mhz(),
            cores=len(os.sched_getaffinity(0)),
            threads=self._threads,
            glances=tuple(self._glances),
        )

    def _look(self) -> None:
        if self._gpu is not None:
            self._glances.append(self._gpu.glance(self._participants))
            self._glanced = time.monotonic()


def cpu_mhz() -> float | None:
    """The first core's clock, as far as the machine tells."""
    try:
        found = re.search(r"^cpu MHz\s*: ([\d.]+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return float(found[1]) if found else None


def _cpu_times() -> tuple[float, float]:
    """Busy and stolen seconds, summed over the cores we may use (proc(5): user nice system idle iowait irq ...)."""
    ours = os.sched_getaffinity(0)
    busy = stolen = 0
    try:
        lines = _STAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0, 0.0
    for line in lines:
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in ours:
            user, nice, system, _, _, irq, soft_irq, steal = map(int, ticks[:8])
            busy += user + nice + system + irq + soft_irq
            stolen += steal
    per_s = os.sysconf("SC_CLK_TCK")
    return busy / per_s, stolen / per_s


_CPU_GROUPS = tuple(group for group in cpu_groups() if group.waited_s is not None)


def _quota_s() -> float:
    return waited_s(_CPU_GROUPS)
