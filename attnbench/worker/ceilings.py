"""What the device can do at most: copy bandwidth and matmul rate, measured, never looked up by name.

The two ceilings of the roofline (Williams et al. 2009, section 3).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

from attnbench.core.problem import Dtype
from attnbench.core.record import Rate

_BLOCKS = 3
_BLOCK_S = 0.05
"""Time for each of several blocks. The fastest repetition counts, because nothing makes a copy faster than it can be;
how far the blocks differ says how well it is known."""
_LEAST_S = 1e-3
"""A repetition holds as many calls as last so long: one small copy would be mostly the call itself."""
_MOST_CALLS = 4096
_CPU_COPY_BYTES = 2**28
_GPU_COPY_BYTES = 2**31
_CACHES = 8
"""What moves through memory is so many times the last-level cache, at least."""
_CPU_SIDES, _GPU_SIDE = (128, 256, 512), 8192
_LONG_S = 0.01
"""On a CPU, a product that takes so long is large enough: of a dtype that is emulated, the largest takes 0.2 s."""


def memory_copy_bytes(device_type: str, cache_bytes: int) -> int:
    """Bytes that a copy moves which no cache can hold."""
    return max(_GPU_COPY_BYTES if device_type == "cuda" else _CPU_COPY_BYTES, _CACHES * cache_bytes)


def copy_rate(device: torch.device, moved_bytes: int) -> Rate:
    """Bytes per second of a copy, as the device is now and with the threads torch has now.

    The copy is made again and again, so that what fits a cache stays there (Ilic et al. 2014, cache-aware roofline).

    Args:
        device: What to measure.
        moved_bytes: Read and written together.
    """
    # Copying takes as long whatever the values are.
    source = torch.full((max(1, moved_bytes // 8),), 1.5, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return _rate(lambda: target.copy_(source), device, work=2 * source.numel() * source.element_size())


def product_rate(device: torch.device, dtype: Dtype) -> Rate:
    """FLOPs per second of a large matrix product; a multiply-add counts as 2."""
    if device.type == "cuda":
        return _rate(_product(device, dtype, _GPU_SIDE), device, work=2 * _GPU_SIDE**3)
    for side in _CPU_SIDES:
        call = _product(device, dtype, side)
        if min(_seconds(call, 1, device) for _ in range(2)) > _LONG_S:
            break
    return _rate(call, device, work=2 * side**3)


def _product(device: torch.device, dtype: Dtype, side: int) -> Callable[[], object]:
    # Random values: on zeros a GPU saves power and runs faster than it ever will on data.
    values = (torch.randn(side, side, dtype=torch.float32, device=device) for _ in range(2))
    left, right = (value.to(getattr(torch, dtype)) for value in values)
    product = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=product)


def _rate(call: Callable[[], object], device: torch.device, *, work: float) -> Rate:
    _seconds(call, 1, device)
    once_s = _seconds(call, 1, device)
    calls = min(_MOST_CALLS, max(1, math.ceil(_LEAST_S / max(once_s, 1e-9))))
    fastest = [_fastest_s(call, calls, device) / calls for _ in range(_BLOCKS)]
    return Rate(per_s=work / min(fastest), spread=max(fastest) / min(fastest) - 1)


def _fastest_s(call: Callable[[], object], calls: int, device: torch.device) -> float:
    fastest, spent = math.inf, 0.0
    while spent < _BLOCK_S:
        seconds = _seconds(call, calls, device)
        fastest, spent = min(fastest, seconds), spent + seconds
    return fastest


def _seconds(call: Callable[[], object], calls: int, device: torch.device) -> float:
    if device.type == "cuda":
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        for _ in range(calls):
            call()
        after.record()
        after.synchronize()
        return before.elapsed_time(after) / 1e3
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - began
