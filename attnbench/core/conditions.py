"""The state of the machine while it was measured, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

THROTTLING = (
    "sw_power_cap",
    "hw_slowdown",
    "sync_boost",
    "sw_thermal_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
)
"""Reasons for which a GPU lowers its clocks under load; idle clocks and clocks that somebody set are not among them."""


@dataclass(frozen=True, kw_only=True)
class Glance:
    """One reading of a GPU's sensors; None where it has no such sensor."""

    sm_mhz: float | None = None
    memory_mhz: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    foreign_processes: int | None = None
    """Processes of others that have the GPU open."""


@dataclass(frozen=True, kw_only=True)
class GpuSettings:
    """How a GPU is set up, with one reading of its sensors; None where the driver does not tell."""

    max_sm_mhz: float | None = None
    power_limit_w: float | None = None
    default_power_limit_w: float | None = None
    persistence: bool | None = None
    mig: bool | None = None
    now: Glance = field(default_factory=Glance)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The machine while a cell was sampled.

    Steal and the CPU time of others are measured over the whole case, and shared among its cells by their time.
    """

    wall_s: float
    """Of the cell's turns."""
    load_before: float
    """Mean length of the run queue over the last minute."""
    load_after: float
    own_s: float = 0.0
    """CPU time of the participant in its turns."""
    steal_s: float = 0.0
    """Time that the hypervisor gave to other machines, summed over the cores we may use."""
    others_s: float = 0.0
    """CPU time of other processes, summed over the cores we may use."""
    involuntary_switches: int = 0
    """Involuntary context switches of the participant."""
    page_faults: float = 0.0
    """Page faults per call."""
    retaken_turns: int = 0
    """Turns that were taken again, because the participant was stopped in them."""
    quota_s: float = 0.0
    """Time for which the control group throttled its processes, summed over them."""
    cpu_mhz: float | None = None
    cores: int = 1
    """Cores we may use."""
    threads: int = 1
    """CPU threads of the participant."""
    glances: tuple[Glance, ...] = ()
    """The GPU before the first sample, during the samples, and after the last one."""

    def __post_init__(self) -> None:
        if self.cores < 1 or self.threads < 1:
            raise ValueError(f"{self.cores} cores, {self.threads} threads (allowed: 1 or more)")
