"""The flags of an ok cell, derived from its records when they are read."""

from __future__ import annotations

import math

from attnbench.core.conditions import THROTTLING, Conditions
from attnbench.core.record import Flag, Record
from attnbench.core.roofline import is_implausible
from attnbench.core.stats import Estimate, process_statistic

_FEWEST_SAMPLES, _FEWEST_ON_CPU = 20, 10
"""A process with fewer is flagged ``few_samples``. On a CPU one sample is the fastest of many loops already."""
_LEAST_TIMED_MS = 100.0
"""As is one with less time in them."""
WIDEST = 1.1
"""A cell is unstable if the upper end of its interval is above its value times this."""
CONTENDED_SHARE = 0.05
"""A cell is contended if others take more than this share of its participant's time."""
_MOST_SWITCHES_PER_S = 10.0
_FAULT_MS = 5e-4
"""The least that a page fault costs: half a microsecond."""
_LARGEST_FAULT_SHARE = 0.02
"""Share of a call's time that page faults may take before a cell is flagged."""


def process_flags(record: Record) -> set[Flag]:
    """The flags of an ok cell in one process."""
    flags = set()
    fewest = _FEWEST_ON_CPU if record.device_type == "cpu" else _FEWEST_SAMPLES
    if len(record.samples_ms) < fewest or record.calls * (record.mean_ms or 0.0) < _LEAST_TIMED_MS:
        flags.add(Flag.FEW_SAMPLES)
    if record.host_ms is not None and record.host_ms > process_statistic(record.samples_ms, record.device_type):
        flags.add(Flag.LAUNCH_BOUND)
    if is_implausible(record):
        flags.add(Flag.IMPLAUSIBLE)
    if record.conditions is not None:
        flags |= {Flag.PAGE_FAULTS} if _faults(record.conditions, record) else set()
        flags |= {Flag.INTERRUPTED} if record.conditions.retaken_turns else set()
        flags |= {Flag.THROTTLED} if _throttled(record.conditions) else set()
        flags |= {Flag.CONTENDED} if _contended(record.conditions, record) else set()
    return flags


def _faults(conditions: Conditions, record: Record) -> bool:
    latency_ms = process_statistic(record.samples_ms, record.device_type)
    return record.device_type == "cpu" and conditions.page_faults * _FAULT_MS > _LARGEST_FAULT_SHARE * latency_ms


def _throttled(conditions: Conditions) -> bool:
    reasons = {reason for glance in conditions.glances for reason in glance.throttle_reasons}
    return conditions.quota_s > 0 or not reasons.isdisjoint(THROTTLING)


def _contended(conditions: Conditions, record: Record) -> bool:
    if record.device_type != "cpu":
        return any(glance.foreign_processes for glance in conditions.glances)
    return (
        sum(taken_shares(conditions)) > CONTENDED_SHARE
        or conditions.involuntary_switches > _MOST_SWITCHES_PER_S * conditions.wall_s
    )


def taken_shares(conditions: Conditions) -> tuple[float, float]:
    """Of a participant's time on the CPU, what other processes take, and what the hypervisor takes.

    The participant keeps one core busy per thread; what others take of the cores that it leaves idle is theirs.
    """
    time_s = conditions.threads * conditions.wall_s or math.inf
    idle_s = max(0, conditions.cores - conditions.threads) * conditions.wall_s
    ours = min(1.0, conditions.threads / conditions.cores)
    return max(0.0, conditions.others_s - idle_s) / time_s, ours * conditions.steal_s / time_s


def is_unstable(latency: Estimate, *, quartiles: tuple[float, float]) -> bool:
    """Whether a cell's value is uncertain by more than 10 %.

    Args:
        latency: Over processes.
        quartiles: The first and the third of a process's samples; used if there is one process alone.
    """
    if latency.high is None:
        return quartiles[1] > WIDEST * quartiles[0]
    return latency.high > WIDEST * latency.value
