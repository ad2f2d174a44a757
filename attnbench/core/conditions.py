"""What a machine did while it was measured: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

THROTTLING = (
    "sw_power_cap",
    "hw_slowdown",
    "sync_boost",
    "sw_thermal_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
)
"""Reasons for which a GPU lowers its clocks under load. Not among them: idle, and clocks that somebody set."""


@dataclass(frozen=True, kw_only=True)
class Glance:
    """What a GPU tells of itself at one moment; None where it does not."""

    sm_mhz: float | None = None
    memory_mhz: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    foreign_processes: int | None = None
    """Processes of others that have the GPU open."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild what ``asdict`` gave."""
        return cls(**{**data, "throttle_reasons": tuple(data["throttle_reasons"])})


@dataclass(frozen=True, kw_only=True)
class GpuSettings:
    """How a GPU is set up, and what it is doing; None where it does not tell."""

    max_sm_mhz: float | None = None
    power_limit_w: float | None = None
    default_power_limit_w: float | None = None
    persistence: bool | None = None
    mig: bool | None = None
    now: Glance = field(default_factory=Glance)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild what ``asdict`` gave."""
        return cls(**{**data, "now": Glance.from_json(data["now"])})


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The machine while a cell was sampled.

    What it did for others is measured over the whole case, and shared among its cells by their time.
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
    """How often the participant was made to leave its core."""
    page_faults: float = 0.0
    """A call: pages that the system had to give."""
    retaken_turns: int = 0
    """Turns in which the participant was stopped, so that they were taken again."""
    quota_s: float = 0.0
    """Time that the control group made its processes wait, summed over them."""
    cpu_mhz: float | None = None
    cores: int = 1
    """Cores we may use."""
    threads: int = 1
    """CPU threads of the participant."""
    glances: tuple[Glance, ...] = ()
    """The GPU before the first sample, during the samples, and after the last one."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild what ``asdict`` gave."""
        return cls(**{**data, "glances": tuple(map(Glance.from_json, data["glances"]))})
