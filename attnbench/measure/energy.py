"""The energy that one call takes, by the GPU's own count."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attnbench.measure.nvml import ManagedGpu

_LEAST_S = 0.5
_LONGEST_S = 3.0
_BATCH_S = 0.01
"""The host looks at the counter about this often."""


def joules_per_call(call: Callable[[Tensor], Any], x: Tensor, gpu: ManagedGpu) -> float | None:
    """Call without a pause between two steps of the GPU's energy counter, at least half a second apart.

    A pass of its own, never while timing: a step takes up to a tenth of a second, far longer than a sample.

    Returns:
        Joules, idle power included; None where the GPU does not count, or its counter does not move.
    """
    if gpu.joules() is None:
        return None
    began = time.perf_counter()
    call(x)
    torch.cuda.synchronize(x.device)
    calls_at_once = max(1, int(_BATCH_S / max(time.perf_counter() - began, 1e-6)))

    def until_it_counts(least_s: float) -> tuple[float, int] | None:
        began, before, calls = time.perf_counter(), gpu.joules(), 0
        while time.perf_counter() - began < least_s + _LONGEST_S:
            for _ in range(calls_at_once):
                call(x)
            torch.cuda.synchronize(x.device)
            calls += calls_at_once
            now = gpu.joules()
            if time.perf_counter() - began < least_s:
                before = now
            elif now is not None and now != before:
                return now, calls
        return None

    start = until_it_counts(0.0)
    end = until_it_counts(_LEAST_S) if start else None
    return (end[0] - start[0]) / end[1] if start and end else None
