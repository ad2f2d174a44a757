"""Gathers facts about this machine."""

from __future__ import annotations

import os
import shutil
import sysconfig
import time
from pathlib import Path

import psutil

from attnbench.core.control_groups import cpu_groups, quota_cores
from attnbench.core.protocol import Described
from attnbench.doctor.diagnosis import SLOWING, Facts
from attnbench.worker.monitor import Monitor

_SYSTEM = Path("/sys/devices/system")
_WATCHED_S = 1.0
_MOST_NAMED, _LEAST_PERCENT = 3, 5.0


def examine(described: Described, *, threads: int, holder: str | None) -> Facts:
    """Look at the machine for about a second.

    Args:
        described: torch and the device, as the judge describes them.
        threads: CPU threads to measure with.
        holder: The run that uses the device.
    """
    monitor = Monitor(threads=threads)
    busiest = _busiest()
    conditions = monitor.conditions()
    memory = psutil.virtual_memory()
    return Facts(
        environment=described.environment,
        conditions=conditions,
        gpu=described.gpu,
        torch_is_debug_build=described.torch_is_debug_build,
        python_is_debug_build=bool(sysconfig.get_config_var("Py_DEBUG")),
        variables={name: os.environ[name] for name in SLOWING if os.environ.get(name)},
        busiest=busiest,
        quota_cores=quota_cores(cpu_groups()),
        governor=_text(_SYSTEM / "cpu/cpu0/cpufreq/scaling_governor"),
        boost=_boost(),
        hyperthreads=_flag(_SYSTEM / "cpu/smt/active"),
        clock_source=_text(_SYSTEM / "clocksource/clocksource0/current_clocksource"),
        available_bytes=memory.available,
        swapped_bytes=psutil.swap_memory().used,
        free_disk_bytes=shutil.disk_usage(Path.cwd()).free,
        holder=holder,
    )


def _busiest() -> tuple[str, ...]:
    """The processes that take most CPU time, watched for a second."""
    processes = [process for process in psutil.process_iter(["name"]) if process.pid != os.getpid()]
    for process in processes:
        _percent(process)
    time.sleep(_WATCHED_S)
    shares = sorted(((_percent(process), process.info["name"] or "?") for process in processes), reverse=True)
    return tuple(name for percent, name in shares[:_MOST_NAMED] if percent > _LEAST_PERCENT)


def _percent(process: psutil.Process) -> float:
    try:
        return float(process.cpu_percent())
    except psutil.Error:
        return 0.0


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
