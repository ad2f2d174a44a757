"""Latency of a call: raw samples, in milliseconds."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attnbench.record import Cache

_FEWEST_SAMPLES = 3
_GPU_BATCH = 20
"""Samples in flight on a GPU before the host looks at them."""
_SAMPLE_MS = 10.0
"""Least length of a timed loop on the CPU."""
_MAX_SAMPLES = 1000
_WARM_UP_CALLS = 2
_SHORT_MS = 1.0
"""A GPU call shorter than this could wait for its own launch: the queue is filled before a batch of them."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Raw latencies of one call."""

    samples_ms: tuple[float, ...]
    calls_per_sample: int
    host_ms: float | None
    """Time until the call returned to Python; None on the CPU, where it is the latency."""
    warm_up_s: float
    timed_s: float


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def time_call(call: Callable[[Tensor], Any], x: Tensor, *, cache: Cache, cache_bytes: int, max_time_s: float) -> Timing:
    """Time ``call(x)``.

    Args:
        call: What to time.
        x: Its input.
        cache: What the caches hold before a timed call.
        cache_bytes: The device's last-level cache; twice as much is written before every call where it is cold.
        max_time_s: Budget of the samples.
    """
    flush = None
    if cache is Cache.COLD:
        flush = torch.empty(2 * max(cache_bytes, 1), dtype=torch.int8, device=x.device)
    with _no_garbage_collection():
        if x.device.type == "cuda":
            return _time_cuda(call, x, flush, max_time_s)
        return _time_cpu(call, x, flush, max_time_s)


def _time_cpu(call: Callable[[Tensor], Any], x: Tensor, flush: Tensor | None, max_time_s: float) -> Timing:
    start = time.perf_counter_ns()
    for _ in range(_WARM_UP_CALLS):
        began = time.perf_counter_ns()
        call(x)
        once_ms = _ms_since(began)
    # A cold call is timed alone: a loop would warm its own cache.
    calls = 1 if flush is not None else math.ceil(_SAMPLE_MS / max(once_ms, 1e-4))
    loop = range(calls)
    if calls > 1:
        # The first estimate came from a call or two: with it, fill one loop and correct it.
        began = time.perf_counter_ns()
        for _ in loop:
            call(x)
        loop = range(math.ceil(_SAMPLE_MS / (_ms_since(began) / calls)))
    warm_up_s = (time.perf_counter_ns() - start) / 1e9
    samples: list[float] = []
    spent_ms = 0.0
    while _wants_more(len(samples), spent_ms, max_time_s):
        flushed = time.perf_counter_ns()
        if flush is not None:
            flush.zero_()
        began = time.perf_counter_ns()
        for _ in loop:
            call(x)
        samples.append(_ms_since(began) / len(loop))
        spent_ms += _ms_since(flushed)
    return Timing(
        samples_ms=tuple(samples),
        calls_per_sample=len(loop),
        host_ms=None,
        warm_up_s=warm_up_s,
        timed_s=spent_ms / 1e3,
    )


def _time_cuda(call: Callable[[Tensor], Any], x: Tensor, flush: Tensor | None, max_time_s: float) -> Timing:
    start = time.perf_counter_ns()
    for _ in range(_WARM_UP_CALLS):
        call(x)
    torch.cuda.synchronize(x.device)
    began = time.perf_counter_ns()
    call(x)
    host_ms = _ms_since(began)
    torch.cuda.synchronize(x.device)
    once_ms = _ms_since(began)
    warm_up_s = (time.perf_counter_ns() - start) / 1e9
    # Enough samples in flight that the host never waits for the device inside a batch, and none synchronizes.
    batch = max(_FEWEST_SAMPLES, min(_GPU_BATCH, round(1e3 * max_time_s / max(once_ms, 1e-3))))
    samples: list[float] = []
    spent_ms = 0.0
    while _wants_more(len(samples), spent_ms, max_time_s):
        began = time.perf_counter_ns()
        if once_ms < _SHORT_MS:
            # Launching a batch, flushes included, takes the host about this long.
            torch.cuda._sleep(_cycles(2 * batch * host_ms))  # noqa: SLF001 - the only way to fill the queue first
        events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(batch)]
        for before, after in events:
            if flush is not None:
                flush.zero_()
            before.record()
            call(x)
            after.record()
        torch.cuda.synchronize(x.device)
        samples += [before.elapsed_time(after) for before, after in events]
        spent_ms += _ms_since(began)
    return Timing(
        samples_ms=tuple(samples),
        calls_per_sample=1,
        host_ms=host_ms,
        warm_up_s=warm_up_s,
        timed_s=spent_ms / 1e3,
    )


def _cycles(milliseconds: float) -> int:
    # About 2 GHz; too long a sleep costs a little time, too short a one lets launches show.
    return int(milliseconds * 2e6)


def _wants_more(samples: int, spent_ms: float, max_time_s: float) -> bool:
    if samples < _FEWEST_SAMPLES:
        return True
    return spent_ms < 1e3 * max_time_s and samples < _MAX_SAMPLES


def _ms_since(began_ns: int) -> float:
    return (time.perf_counter_ns() - began_ns) / 1e6
