"""The ceilings beside a second way of measuring them."""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch.nn.functional import linear
from torch.utils.benchmark import Timer

from attnbench.core.problem import Dtype
from attnbench.core.record import Rate
from attnbench.core.verification import Figure
from attnbench.worker.ceilings import copy_rate, memory_copy_bytes, product_rate
from attnbench.worker.environment import cache_bytes_of

_WITHIN = 1.7
"""The two ways need not have the same code; a direction that is not counted, or a factor of 2, is found."""
_REPEATS, _TURNS = 6, 4
_CACHED_BYTES = 2**22
_CPU_SIDE, _GPU_SIDE = 384, 6144


def copy_another_way(device: torch.device) -> Iterator[Figure]:
    """The copy ceiling over that of the C library's copy; on a GPU, over that of a kernel that adds 1."""
    for of, moved in {
        "a copy that stays in caches": _CACHED_BYTES,
        "a copy through memory": memory_copy_bytes(device.type, cache_bytes_of(device)),
    }.items():
        other = _added if device.type == "cuda" else _moved
        ratio = _ratio(partial(copy_rate, device, moved), partial(other, device, moved))
        yield Figure(check="copy", of=of, value=ratio, least=1 / _WITHIN, most=_WITHIN)


def product_another_way(device: torch.device) -> Iterator[Figure]:
    """The matmul ceiling over the rate of a linear layer of another size, by torch's own benchmark timer."""
    side = _GPU_SIDE if device.type == "cuda" else _CPU_SIDE
    for dtype in (Dtype.FLOAT32, *([Dtype.BFLOAT16] if device.type == "cuda" else [])):
        kind = getattr(torch, dtype)
        x, weight = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
        timer = Timer("linear(x, weight)", globals={"linear": linear, "x": x, "weight": weight}, num_threads=1)
        ratio = _ratio(partial(product_rate, device, dtype), partial(_timed, timer, 2 * side**3))
        yield Figure(check="product", of=f"{dtype}, {side} rows", value=ratio, least=1 / _WITHIN, most=_WITHIN)


def _ratio(ours: Callable[[], Rate], theirs: Callable[[], float]) -> float:
    """The highest of ours over the highest of theirs, in turn so that a busy moment spoils neither."""
    both = [(ours().per_s, theirs()) for _ in range(_TURNS)]
    return max(our for our, _ in both) / max(their for _, their in both)


def _timed(timer: Timer, work: float) -> float:
    # One call at a time: on a busy machine a long repetition is never undisturbed.
    return work / min(timer.timeit(1).median for _ in range(3 * _REPEATS))


def _moved(_: torch.device, moved_bytes: int) -> float:
    """Bytes per second of the C library's ``memmove``, by a clock that no time service adjusts."""
    size = moved_bytes // 2
    source, target = ctypes.create_string_buffer(size), ctypes.create_string_buffer(size)
    calls = max(1, 2**24 // size)

    def move() -> None:
        for _ in range(calls):
            ctypes.memmove(target, source, size)

    move()
    return 2 * size * calls / _fastest_s(move)


def _fastest_s(call: Callable[[], None]) -> float:
    fastest = math.inf
    for _ in range(_REPEATS):
        began = time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
        call()
        fastest = min(fastest, time.clock_gettime(time.CLOCK_MONOTONIC_RAW) - began)
    return fastest


def _added(device: torch.device, moved_bytes: int) -> float:
    source = torch.rand(moved_bytes // 8, device=device)
    target = torch.empty_like(source)
    timer = Timer("add(source, 1.0, out=target)", globals={"add": torch.add, "source": source, "target": target})
    return _timed(timer, 8 * source.numel())
