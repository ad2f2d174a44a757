"""What one call allocates at its peak, and which kernel it ran: a pass of its own, never while timing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.autograd.profiler import profile

_ATTENTION = re.compile(r"::_scaled_dot_product_|_(flash|efficient|cudnn)_attention|flash_attn|fmha|::flash_(fwd|bwd)")
"""Operators that are attention: torch's, xformers', flash-attn's."""
_LAYOUT = re.compile(
    r"copy|clone|contiguous|index_?select|gather|roll|\bpad|constant_pad|fill|zero|\bcat|CatArray", re.IGNORECASE
)
"""Operators and kernels that move data and compute nothing: the layout around attention, which is never what ran."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What one call did besides taking time."""

    peak_bytes: int
    """Allocated at the peak above what was held before: inputs excluded, output included."""
    kernel: str
    """The operator torch dispatched to; on a GPU followed by the name of the longest kernel that computes."""


def profile_call(call: Callable[[Tensor], Any], x: Tensor) -> Profile:
    """Run ``call(x)`` under torch's profiler; on a GPU once more for the allocator's statistics."""
    on_gpu = x.device.type == "cuda"
    # Not torch.profiler's own: its first use imports torch's compiler, which takes seconds.
    with profile(
        use_device="cuda" if on_gpu else None, use_kineto=True, profile_memory=not on_gpu, acc_events=True
    ) as profiler:
        call(x)
        if on_gpu:
            torch.cuda.synchronize(x.device)
    events = profiler.kineto_results.events()
    kernel = _operator(profiler.function_events, on_gpu=on_gpu)
    if not on_gpu:
        return Profile(peak_bytes=_allocated_at_peak(events), kernel=kernel)
    longest = _longest_kernel(events)
    return Profile(peak_bytes=_cuda_peak(call, x), kernel=f"{kernel} {longest}".strip())


def _allocated_at_peak(events: Iterable[Any]) -> int:
    """The largest running sum of the profiler's allocation events; it repeats to the byte."""
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def _cuda_peak(call: Callable[[Tensor], Any], x: Tensor) -> int:
    torch.cuda.synchronize(x.device)
    torch.cuda.reset_peak_memory_stats(x.device)
    held = torch.cuda.memory_allocated(x.device)
    result = call(x)
    torch.cuda.synchronize(x.device)
    peak = torch.cuda.max_memory_allocated(x.device) - held
    del result
    return peak


def _operator(events: Iterable[Any], *, on_gpu: bool) -> str:
    """The attention operator of the call where there is one, else the operator that took longest itself."""
    longest: dict[str, float] = {}
    for event in events:
        if event.device_type != DeviceType.CPU:
            continue  # a kernel, not the operator that launched it
        if "::" not in event.name:
            continue  # a label, such as "## Call CompiledFxGraph"
        if _ATTENTION.search(event.name) and not event.name.endswith("_backward"):
            return str(event.name.removeprefix("aten::"))
        if not _LAYOUT.search(event.name):
            spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            longest[event.name] = longest.get(event.name, 0.0) + spent
    return max(longest, key=lambda name: longest[name]).removeprefix("aten::") if longest else ""


def _longest_kernel(events: Iterable[Any]) -> str:
    durations: dict[str, int] = {}
    for event in events:
        is_kernel = event.device_type() == DeviceType.CUDA and not event.name().startswith(("Mem", "["))
        if is_kernel and not _LAYOUT.search(event.name()):
            durations[event.name()] = durations.get(event.name(), 0) + event.duration_ns()
    return max(durations, key=lambda name: durations[name]) if durations else ""
