"""Problems of a machine that spoil benchmarks, and their fixes: from facts to findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from attnbench.core.conditions import THROTTLING, Conditions, GpuSettings
from attnbench.core.flags import CONTENDED_SHARE, taken_shares
from attnbench.core.record import Environment
from attnbench.core.text import GIBIBYTE, plural

_HOT_C = 83.0
_LEAST_DISK_BYTES = GIBIBYTE
_MOST_SWAPPED_BYTES = GIBIBYTE // 4
_STEADY_CLOCKS = ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter")
SLOWING = {
    "CUDA_LAUNCH_BLOCKING": "every launch waits for the device",
    "PYTORCH_NO_CUDA_MEMORY_CACHING": "every allocation goes to the driver",
    "NVIDIA_TF32_OVERRIDE": "float32 products change their precision",
    "TORCHDYNAMO_DISABLE": "nothing is compiled",
    "TORCH_COMPILE_DEBUG": "compiling writes traces",
    "PYTHONMALLOC": "Python's allocator is replaced",
    "PYTHONDEVMODE": "Python checks itself",
    "LD_PRELOAD": "other code is loaded into every process",
}
"""Environment variables that change what is measured, and how."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a machine tells of itself; None if it does not."""

    environment: Environment
    conditions: Conditions
    """Of about a second, as cells are measured; its ``threads`` are those to measure with."""
    gpu: GpuSettings | None = None
    torch_is_debug_build: bool = False
    python_is_debug_build: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those of ``SLOWING`` that are set."""
    busiest: tuple[str, ...] = ()
    """Names of the processes that take most."""
    quota_cores: float | None = None
    """Cores that the control groups allow; None without a limit."""
    governor: str | None = None
    boost: bool | None = None
    hyperthreads: bool | None = None
    clock_source: str | None = None
    available_bytes: int | None = None
    swapped_bytes: int = 0
    free_disk_bytes: int | None = None
    holder: str | None = None
    """The run that uses the device."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check."""

    topic: str
    found: str
    advice: str = ""
    """What to do; empty if nothing is wrong."""


def diagnose(facts: Facts) -> list[Finding]:
    """Every check, problems first."""
    findings = [*_device(facts), *_load(facts), *_cpu(facts), *_software(facts), *_room(facts)]
    return sorted(findings, key=lambda finding: not finding.advice)


def _check(topic: str, found: str, advice: str, *, problem: bool) -> Finding:
    return Finding(topic=topic, found=found, advice=advice if problem else "")


def _device(facts: Facts) -> Iterator[Finding]:
    if facts.holder:
        yield _check("device", f"in use by {facts.holder}", "let it finish, or run with --wait", problem=True)
    if not facts.environment.device.startswith("cuda"):
        return
    if facts.gpu is None:
        advice = "let this container see the driver's libnvidia-ml (and pip install nvidia-ml-py)"
        yield _check("GPU state", "unknown", advice, problem=True)
        return
    gpu, now = facts.gpu, facts.gpu.now
    throttling = [reason for reason in now.throttle_reasons if reason in THROTTLING]
    advice = "let it cool, or raise its power limit"
    yield _check("throttling", ", ".join(throttling) or "none now", advice, problem=bool(throttling))
    fixed = "applications_clocks_setting" in now.throttle_reasons
    found = f"{_number(now.sm_mhz)} of {_number(gpu.max_sm_mhz)} MHz, {'fixed' if fixed else 'perhaps not fixed'}"
    yield _check("GPU clocks", found, "fix them: sudo nvidia-smi -lgc MHZ (undo: -rgc)", problem=not fixed)
    if now.foreign_processes:
        found = f"open in {plural(now.foreign_processes, 'other process')}"
        yield _check("GPU sharing", found, "end them (nvidia-smi lists them)", problem=True)
    if gpu.persistence is not None:
        found = "on" if gpu.persistence else "off"
        yield _check("persistence", found, "sudo nvidia-smi -pm 1", problem=not gpu.persistence)
    if gpu.power_limit_w and gpu.default_power_limit_w:
        advice = f"sudo nvidia-smi -pl {gpu.default_power_limit_w:.0f}"
        lowered = gpu.power_limit_w < gpu.default_power_limit_w
        yield _check("power limit", f"{gpu.power_limit_w:.0f} W", advice, problem=lowered)
    if now.temperature_c is not None:
        yield _check("temperature", f"{now.temperature_c:.0f} C", "let it cool", problem=now.temperature_c >= _HOT_C)
    if gpu.mig:
        yield _check("MIG", "on: this is a part of a GPU", "compare with the same part only", problem=True)


def _load(facts: Facts) -> Iterator[Finding]:
    conditions = facts.conditions
    shares = taken_shares(conditions)
    contended = sum(shares) > CONTENDED_SHARE
    # Each that takes at least half of what is too much has a part in it.
    busy, stolen = (contended and share >= CONTENDED_SHARE / 2 for share in shares)
    time_s = conditions.cores * conditions.wall_s
    who = f" ({', '.join(facts.busiest)})" if busy and facts.busiest else ""
    found = f"{conditions.others_s / time_s:.0%} of {plural(conditions.cores, 'core')}{who}"
    yield _check("other load", found, "end it, or measure more processes (--rigorous)", problem=busy)
    found = f"{conditions.steal_s / time_s:.1%} of the cores' time went to other virtual machines"
    advice = "rent a dedicated machine, or measure more processes (--rigorous)"
    yield _check("steal", found, advice, problem=stolen)


def _cpu(facts: Facts) -> Iterator[Finding]:
    cores, threads, waited_s = facts.environment.cores, facts.conditions.threads, facts.conditions.quota_s
    allowed = min(cores, facts.quota_cores or cores)
    if facts.quota_cores is not None:
        found = f"{facts.quota_cores:g} cores" + (f"; processes waited {waited_s:.1f} s for it" if waited_s else "")
        too_low = facts.quota_cores < threads or waited_s > 0
        yield _check("CPU quota", found, "raise it, or lower measure.threads", problem=too_low)
    too_many = threads > allowed
    paired = bool(facts.hyperthreads) and threads > max(1, cores // 2)
    advice = f"measure.threads: {max(1, cores // 2)}: two threads of a core slow each other"
    advice = f"measure.threads: {max(1, int(allowed))} at most" if too_many else advice
    yield _check("threads", f"{threads} on {plural(cores, 'core')}", advice, problem=too_many or paired)
    if facts.governor is not None:
        advice = "sudo cpupower frequency-set -g performance"
        yield _check("CPU governor", facts.governor, advice, problem=facts.governor != "performance")
    if facts.boost is not None:
        advice = "turn boost off for comparisons (/sys/devices/system/cpu)"
        yield _check("CPU clocks", "free (boost)" if facts.boost else "fixed", advice, problem=facts.boost)
    if facts.clock_source is not None:
        advice = "reading it is slow: boot with clocksource=tsc"
        yield _check("clock source", facts.clock_source, advice, problem=facts.clock_source not in _STEADY_CLOCKS)


def _software(facts: Facts) -> Iterator[Finding]:
    builds = (("Python", facts.python_is_debug_build), ("torch", facts.torch_is_debug_build))
    debug = [name for name, is_debug in builds if is_debug]
    found = f"{' and '.join(debug)} built for debugging" if debug else "for release"
    yield _check("builds", found, "install release builds: these are several times slower", problem=bool(debug))
    for name, value in facts.variables.items():
        yield _check("variable", f"{name}={value}: {SLOWING.get(name, '')}", f"unset {name}", problem=True)


def _room(facts: Facts) -> Iterator[Finding]:
    if facts.available_bytes is not None:
        low = facts.available_bytes < facts.environment.memory_bytes // 10
        found = (
            f"{facts.available_bytes / GIBIBYTE:.1f} GiB available, {facts.swapped_bytes / GIBIBYTE:.1f} GiB swapped"
        )
        problem = low or facts.swapped_bytes > _MOST_SWAPPED_BYTES
        yield _check("memory", found, "end what fills it: swapping ruins timings", problem=problem)
    if facts.free_disk_bytes is not None:
        found = f"{facts.free_disk_bytes / GIBIBYTE:.1f} GiB free here"
        low = facts.free_disk_bytes < _LEAST_DISK_BYTES
        yield _check("disk", found, "make room, or give another --output", problem=low)


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"
