"""What would make a machine's numbers bad, and what to do about it: from facts to findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from attnbench.core.conditions import THROTTLING, GpuSettings
from attnbench.core.record import Environment

_BUSY, _STOLEN = 0.05, 0.01
_HOT_C = 83.0
_LEAST_DISK_BYTES = 2**30
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
    """What is known of a machine; None where it does not tell."""

    environment: Environment
    threads: int
    gpu: GpuSettings | None = None
    torch_is_debug_build: bool = False
    python_is_debug_build: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those of ``SLOWING`` that are set."""
    others_share: float = 0.0
    """Of the cores we may use, what other processes take."""
    busiest: tuple[str, ...] = ()
    """Names of the processes that take most."""
    steal_share: float = 0.0
    quota_cores: float | None = None
    """Cores that the control group allows, where it limits them."""
    governor: str | None = None
    boost: bool | None = None
    hyperthreads: bool | None = None
    clock_source: str | None = None
    available_bytes: int | None = None
    swapped_bytes: int = 0
    free_disk_bytes: int | None = None
    holder: str | None = None
    """Which run has the device."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    found: str
    advice: str = ""
    """What to do; empty where nothing is wrong."""


def diagnose(facts: Facts) -> list[Finding]:
    """Everything that was looked at, what is wrong first."""
    findings = [*_device(facts), *_load(facts), *_cpu(facts), *_software(facts), *_room(facts)]
    return sorted(findings, key=lambda finding: not finding.advice)


def _device(facts: Facts) -> Iterator[Finding]:
    if facts.holder:
        yield Finding(topic="device", found=f"in use by {facts.holder}", advice="let it finish, or run with --wait")
    if not facts.environment.device.startswith("cuda"):
        return
    if facts.gpu is None:
        advice = "let this container see the driver's libnvidia-ml (and pip install nvidia-ml-py)"
        yield Finding(topic="GPU state", found="not told", advice=advice)
        return
    gpu, now = facts.gpu, facts.gpu.now
    throttling = [reason for reason in now.throttle_reasons if reason in THROTTLING]
    yield Finding(
        topic="throttling",
        found=", ".join(throttling) or "none now",
        advice="let it cool, or raise its power limit" if throttling else "",
    )
    locked = "applications_clocks_setting" in now.throttle_reasons
    yield Finding(
        topic="GPU clocks",
        found=f"{_known(now.sm_mhz)} of {_known(gpu.max_sm_mhz)} MHz, {'set' if locked else 'not known to be fixed'}",
        advice="" if locked else "unless they are: sudo nvidia-smi -lgc MHZ (undo: -rgc)",
    )
    if now.foreign_processes:
        found = f"{now.foreign_processes} other processes have the GPU open"
        yield Finding(topic="GPU sharing", found=found, advice="end them (nvidia-smi lists them)")
    if gpu.persistence is not None:
        advice = "" if gpu.persistence else "sudo nvidia-smi -pm 1"
        yield Finding(topic="persistence", found="on" if gpu.persistence else "off", advice=advice)
    if gpu.power_limit_w and gpu.default_power_limit_w:
        low = gpu.power_limit_w < gpu.default_power_limit_w
        advice = f"sudo nvidia-smi -pl {gpu.default_power_limit_w:.0f}" if low else ""
        yield Finding(topic="power limit", found=f"{gpu.power_limit_w:.0f} W", advice=advice)
    if now.temperature_c is not None:
        advice = "let it cool" if now.temperature_c >= _HOT_C else ""
        yield Finding(topic="temperature", found=f"{now.temperature_c:.0f} C", advice=advice)
    if gpu.mig:
        yield Finding(topic="MIG", found="on: this is a part of a GPU", advice="compare with the same part only")


def _load(facts: Facts) -> Iterator[Finding]:
    cores = facts.environment.cores
    who = f" ({', '.join(facts.busiest)})" if facts.busiest else ""
    busy = facts.others_share > _BUSY
    yield Finding(
        topic="other load",
        found=f"{facts.others_share:.0%} of {cores} cores{who if busy else ''}",
        advice="end it, or measure more processes (--rigorous)" if busy else "",
    )
    stolen = facts.steal_share > _STOLEN
    yield Finding(
        topic="steal",
        found=f"{facts.steal_share:.1%} of the cores' time went to other machines",
        advice="rent a dedicated machine, or measure more processes (--rigorous)" if stolen else "",
    )


def _cpu(facts: Facts) -> Iterator[Finding]:
    cores = facts.environment.cores
    allowed = min(cores, facts.quota_cores or cores)
    if facts.quota_cores is not None:
        found = f"{facts.quota_cores:g} cores"
        advice = "" if facts.quota_cores >= facts.threads else "raise it, or lower measure.threads"
        yield Finding(topic="CPU quota", found=found, advice=advice)
    too_many = facts.threads > allowed
    shared = bool(facts.hyperthreads) and facts.threads > max(1, cores // 2)
    advice = f"measure.threads: {max(1, int(allowed))} at most" if too_many else ""
    advice = advice or (
        f"measure.threads: {max(1, cores // 2)}: two threads of a core slow each other" if shared else ""
    )
    yield Finding(topic="threads", found=f"{facts.threads} on {cores} cores", advice=advice)
    if facts.governor is not None:
        advice = "" if facts.governor == "performance" else "sudo cpupower frequency-set -g performance"
        yield Finding(topic="CPU governor", found=facts.governor, advice=advice)
    if facts.boost is not None:
        advice = "turn boost off for comparisons (/sys/devices/system/cpu)" if facts.boost else ""
        yield Finding(topic="CPU clocks", found="free (boost)" if facts.boost else "fixed", advice=advice)
    if facts.clock_source is not None:
        advice = "" if facts.clock_source in _STEADY_CLOCKS else "reading it is slow: boot with clocksource=tsc"
        yield Finding(topic="clock source", found=facts.clock_source, advice=advice)


def _software(facts: Facts) -> Iterator[Finding]:
    debug = [
        name
        for name, is_debug in (("Python", facts.python_is_debug_build), ("torch", facts.torch_is_debug_build))
        if is_debug
    ]
    yield Finding(
        topic="builds",
        found=f"{' and '.join(debug)} built for debugging" if debug else "for release",
        advice="install release builds: these are several times slower" if debug else "",
    )
    for name, value in facts.variables.items():
        found = f"{name}={value}: {SLOWING.get(name, '')}"
        yield Finding(topic="variable", found=found, advice=f"unset {name}")


def _room(facts: Facts) -> Iterator[Finding]:
    if facts.available_bytes is not None:
        low = facts.available_bytes < facts.environment.memory_bytes // 10 or facts.swapped_bytes > 2**28
        found = f"{facts.available_bytes / 2**30:.1f} GiB available, {facts.swapped_bytes / 2**30:.1f} GiB swapped"
        yield Finding(topic="memory", found=found, advice="end what fills it: swapping ruins timings" if low else "")
    if facts.free_disk_bytes is not None:
        low = facts.free_disk_bytes < _LEAST_DISK_BYTES
        advice = "make room, or give another --output" if low else ""
        yield Finding(topic="disk", found=f"{facts.free_disk_bytes / 2**30:.1f} GiB free here", advice=advice)


def _known(number: float | None) -> str:
    return "?" if number is None else f"{number:.0f}"
