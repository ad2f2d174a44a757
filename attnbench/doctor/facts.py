"""Gathers what there is to know of this machine before anything is measured on it."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

import psutil

from attnbench.core.protocol import Described
from attnbench.doctor.diagnosis import SLOWING, Facts

_SYSTEM = Path("/sys/devices/system")
_WATCHED_S = 1.0
_MOST_NAMED = 3
_LEAST_PERCENT = 5.0


def examine(described: Described, *, threads: int, holder: str | None) -> Facts:
    """Look at the machine for about a second.

    Args:
        described: What the judge says of torch and the device.
        threads: CPU threads that are to be measured with.
        holder: Which run has the device.
    """
    others_share, steal_share, busiest = _load()
    memory = psutil.virtual_memory()
    return Facts(
        environment=described.environment,
        threads=threads,
        gpu=described.gpu,
        torch_is_debug_build=described.torch_is_debug_build,
        python_is_debug_build=bool(sysconfig.get_config_var("Py_DEBUG")),
        variables={name: os.environ[name] for name in SLOWING if os.environ.get(name)},
        others_share=others_share,
        busiest=busiest,
        steal_share=steal_share,
        quota_cores=_quota_cores(),
        governor=_text(_SYSTEM / "cpu/cpu0/cpufreq/scaling_governor"),
        boost=_boost(),
        hyperthreads=_flag(_SYSTEM / "cpu/smt/active"),
        clock_source=_text(_SYSTEM / "clocksource/clocksource0/current_clocksource"),
        available_bytes=memory.available,
        swapped_bytes=psutil.swap_memory().used,
        free_disk_bytes=shutil.disk_usage(Path.cwd()).free,
        holder=holder,
    )


def _load() -> tuple[float, float, tuple[str, ...]]:
    """What others take of our cores, what the hypervisor takes of them, and who takes most."""
    ours = sorted(os.sched_getaffinity(0))
    processes = [process for process in psutil.process_iter(["name"]) if process.pid != os.getpid()]
    for process in processes:
        _percent(process)
    psutil.cpu_times_percent(percpu=True)
    times = psutil.cpu_times_percent(interval=_WATCHED_S, percpu=True)
    mine = [times[core] for core in ours if core < len(times)] or times
    busy = [100.0 - core.idle - getattr(core, "iowait", 0.0) - getattr(core, "steal", 0.0) for core in mine]
    steal = [getattr(core, "steal", 0.0) for core in mine]
    shares = sorted(((_percent(process), process.info["name"] or "?") for process in processes), reverse=True)
    busiest = tuple(name for percent, name in shares[:_MOST_NAMED] if percent > _LEAST_PERCENT)
    return sum(busy) / len(busy) / 100, sum(steal) / len(steal) / 100, busiest


def _percent(process: psutil.Process) -> float:
    try:
        return float(process.cpu_percent())
    except psutil.Error:
        return 0.0


def _quota_cores() -> float | None:
    """The limit of the control group (cpu.max in version 2, cfs_quota in version 1)."""
    limits = (_text(Path("/sys/fs/cgroup/cpu.max")) or "").split()
    if not limits:
        root = Path("/sys/fs/cgroup/cpu")
        limits = [_text(root / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
    quota, period = (int(limit) if limit.isdigit() else 0 for limit in limits)
    return quota / period if quota and period else None


def _boost() -> bool | None:
    no_turbo = _flag(_SYSTEM / "cpu/intel_pstate/no_turbo")
    return _flag(_SYSTEM / "cpu/cpufreq/boost") if no_turbo is None else not no_turbo


def _flag(path: Path) -> bool | None:
    text = _text(path)
    return None if text is None else text == "1"


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None
