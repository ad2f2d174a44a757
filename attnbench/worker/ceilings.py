"""What the device can do at most: copy bandwidth and matmul rate, measured, never looked up by name.

The two ceilings of the roofline (Williams et al. 2009, section 3).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from attnbench.core.problem import Dtype
from attnbench.core.record import Ceilings

_BUDGET_S = 0.15
"""Time for one ceiling; the fastest repetition counts, because nothing makes a copy faster than it can be."""
_FEWEST = 3
_CPU_COPY_BYTES = 2**27
_GPU_COPY_BYTES = 2**30
_CPU_SIDE, _GPU_SIDE = 512, 8192


def measure_ceilings(device: torch.device, dtype: Dtype, *, cache_bytes: int) -> Ceilings:
    """Measure the ceilings of ``device`` as it is now, with the threads torch has now.

    Args:
        device: What to measure.
        dtype: Whose matmul rate is wanted.
        cache_bytes: The last-level cache; what is copied is at least four times as large.
    """
    return Ceilings(
        bytes_per_s=_copy_bytes_per_s(device, cache_bytes),
        flops_per_s=_matmul_flops_per_s(device, getattr(torch, dtype)),
    )


def _copy_bytes_per_s(device: torch.device, cache_bytes: int) -> float:
    least = _GPU_COPY_BYTES if device.type == "cuda" else _CPU_COPY_BYTES
    size = max(least, 4 * cache_bytes)
    source = torch.full(
        (size // 4,), 1.5, dtype=torch.float32, device=device
    )  # copying takes as long whatever the values are
    target = torch.empty_like(source)
    seconds = _fastest_s(lambda: target.copy_(source), device)
    return 2 * source.numel() * source.element_size() / seconds


def _matmul_flops_per_s(device: torch.device, dtype: torch.dtype) -> float:
    side = _GPU_SIDE if device.type == "cuda" else _CPU_SIDE
    # Random values: on zeros a GPU saves power and runs faster than it ever will on data.
    left, right = (torch.randn(side, side, dtype=torch.float32, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(left)
    seconds = _fastest_s(lambda: torch.mm(left, right, out=product), device)
    return 2 * side**3 / seconds


def _fastest_s(call: Callable[[], object], device: torch.device) -> float:
    fastest, spent, repetitions = float("inf"), 0.0, 0
    call()
    while repetitions < _FEWEST or spent < _BUDGET_S:
        seconds = _once_s(call, device)
        fastest, spent, repetitions = min(fastest, seconds), spent + seconds, repetitions + 1
    return fastest


def _once_s(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        call()
        after.record()
        after.synchronize()
        return before.elapsed_time(after) / 1e3
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
