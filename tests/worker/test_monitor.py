"""What others took while a cell was sampled, by counters that only the test moves."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from attnbench.core.conditions import Glance
from attnbench.core.control_groups import cpu_groups
from attnbench.worker import monitor as monitoring
from attnbench.worker.monitor import Counters, Monitor, read_counters
from attnbench.worker.nvml import ManagedGpu


def counters(**fields: float) -> Counters:
    known = {"wall_s": 0.0, "own_s": 0.0, "busy_s": 0.0, "steal_s": 0.0, "involuntary_switches": 0, "quota_s": 0.0}
    return Counters(**{**known, **fields})  # type: ignore[arg-type]


def test_only_what_happens_from_the_start_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter(
        [
            counters(),
            counters(wall_s=10, own_s=1, busy_s=100, steal_s=5, involuntary_switches=7, quota_s=1),
            counters(wall_s=12, own_s=3, busy_s=103.5, steal_s=5.25, involuntary_switches=9, quota_s=1.5),
        ]
    )
    monkeypatch.setattr(monitoring, "read_counters", lambda: next(readings))
    monitor = Monitor(threads=1)
    monitor.start()
    found = monitor.conditions()
    assert (found.wall_s, found.others_s, found.steal_s) == (2, 1.5, 0.25)
    assert (found.involuntary_switches, found.quota_s, found.threads) == (2, 0.5, 1)
    assert found.cores == len(os.sched_getaffinity(0))


def test_the_systems_counters_move_with_the_work() -> None:
    before = read_counters()
    began = time.process_time()
    while time.process_time() - began < 0.2:
        pass
    after = read_counters()
    assert after.own_s - before.own_s >= 0.19
    assert after.wall_s - before.wall_s >= 0.19
    assert after.busy_s - before.busy_s >= 0.1
    assert after.steal_s >= before.steal_s


def test_only_the_cores_we_may_use_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu 9 9 9 9 9 9 9 9 9 9\ncpu0 100 0 100 5 5 0 0 50 0 0\ncpu1 800 0 0 0 0 0 0 800 0 0\nintr 1 2\n")
    monkeypatch.setattr(monitoring, "_STAT", stat)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    ticks = os.sysconf("SC_CLK_TCK")
    assert monitoring._cpu_times() == (200 / ticks, 50 / ticks)


def test_a_wait_of_an_enclosing_control_group_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outer = tmp_path / "cpu.stat"
    outer.write_text("throttled_usec 3000000\n")
    (tmp_path / "own").mkdir()
    monkeypatch.setattr(monitoring, "_CPU_GROUPS", cpu_groups("0::/own", tmp_path))
    assert monitoring._quota_s() == pytest.approx(3)
    outer.unlink()
    assert monitoring._quota_s() == 0


def test_a_gpu_is_looked_at_before_and_after_and_not_too_often_between() -> None:
    class Gpu(ManagedGpu):
        def __init__(self) -> None:
            self.looks = 0

        def glance(self, participants: Sequence[int] = ()) -> Glance:
            self.looks += 1
            return Glance(power_w=self.looks)

    gpu = Gpu()
    monitor = Monitor(threads=1, gpu=gpu)
    for _ in range(100):
        monitor.glance()
    assert [glance.power_w for glance in monitor.conditions().glances] == [1, 2]
