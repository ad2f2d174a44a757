"""What the layout around attention costs beside a plain copy of the tensors that move: run as a script.

Partition of the packed qkv map, and reverse of the output's windows, as scope ``map`` calls them around a backend, over
``clone`` of the same two tensors, just as warm. The gradient is that of both alone, on contiguous gradients, over the
same clones; ``autograd`` is a gradient for which nothing is copied, and so what autograd itself takes of it. Beside it
stands what Swin's authors published (pad, roll, view and copy), as the backend ``swin`` keeps it. Where windows do not
divide the map, the clones hold no padded token, of which there is up to one in eight.

All sample in turn, in one process with the allocator that workers have, on one thread; a cell is the median of the
ratios turn by turn. A/A is a second clone over the first one, the noise of this machine. On a machine that others use,
``--cpu-clock`` reads the CPU time of the thread instead of the time, so that being descheduled lengthens no sample.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from attnbench.backends.windows import Layout, prepare_layout, published_layout
from attnbench.core.problem import Dtype, Pattern, Problem
from attnbench.core.record import Measure
from attnbench.run.worker_process import _STEADY
from attnbench.worker import timing
from attnbench.worker.environment import describe, resolve_device

MAPS = ((56, 56), (28, 28), (14, 14), (7, 7))
DETECTION_MAPS = ((200, 334), (100, 167), (50, 84), (25, 42))
"""Of an image of 800 x 1333: windows of 7 divide none of them."""
HEADS = {"svt_s": (2, 4, 8, 16), "swin_t": (3, 6, 12, 24)}
FORWARD = ("clone", "A/A", "shared", "published")
"""Called without autograd, as in mode forward."""
FORWARD_LIMIT, GRADIENT_LIMIT = 1.3, 2.0
Calls = dict[str, Callable[[Tensor], Any]]


def problems(batch: int) -> Iterator[tuple[str, Problem]]:
    """Every stage with its name; the maps of detection one image at a time."""
    for name, heads in HEADS.items():
        for maps, images in ((MAPS, batch), (DETECTION_MAPS, 1)):
            for (height, width), count in zip(maps, heads, strict=True):
                yield (
                    name,
                    Problem(batch=images, height=height, width=width, window_height=7, window_width=7, heads=count),
                )


def calls(problem: Problem, device: torch.device) -> Calls:
    """All that is compared, by name."""
    dtype = getattr(torch, problem.dtype)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device).to(dtype)

    per_head = (problem.heads, problem.head_dim)
    area = (problem.batch, problem.height, problem.width)
    packed = (problem.batch * problem.windows, problem.tokens)
    qkv, output = normal(*area, 3, *per_head), normal(*area, *per_head)
    windows, window_gradients = normal(*packed, *per_head), normal(*packed, 3, *per_head)
    found: Calls = {
        "clone": lambda _: (qkv.clone(), output.clone()),
        "A/A": lambda _: (qkv.clone(), output.clone()),
    }
    layouts = {"shared": prepare_layout(problem, device=device), "published": published_layout(problem)}
    for name, layout in layouts.items():
        found[name] = _forward(layout, qkv, windows)
        found[f"{name} gradient"] = _gradient(layout, (qkv, windows), (window_gradients, output))
    views = Layout(partition=lambda x: x.view_as(x), reverse=lambda x: x.view_as(x))
    found["autograd"] = _gradient(views, (qkv, windows), (qkv, windows))
    return found


def _forward(layout: Layout, qkv: Tensor, windows: Tensor) -> Callable[[Tensor], Any]:
    return lambda _: (layout.partition(qkv), layout.reverse(windows))


def _gradient(
    layout: Layout, given: tuple[Tensor, Tensor], gradients: tuple[Tensor, Tensor]
) -> Callable[[Tensor], Any]:
    sources = [x.clone().requires_grad_() for x in given]
    with torch.enable_grad():
        results = [layout.partition(sources[0]), layout.reverse(sources[1])]
    return lambda _: torch.autograd.grad(results, sources, gradients, retain_graph=True)


def ratios(problem: Problem, device: torch.device, turns: int, flush: Tensor | None = None) -> dict[str, float]:
    """Every call over the clones, and how many milliseconds those took."""
    x = torch.empty(0, device=device)
    samplers = {name: timing.sampler(call, device, flush) for name, call in calls(problem, device).items()}
    for name, one in samplers.items():
        with torch.inference_mode(name in FORWARD):
            one.warm_up(x, settle=True)
    found: dict[str, list[float]] = {name: [] for name in samplers}
    for turn in range(turns):
        for name in list(samplers)[:: -1 if turn % 2 else 1]:
            with torch.inference_mode(name in FORWARD):
                found[name].append(statistics.median(samplers[name].take_turn(x, 0.0).samples_ms))
            samplers[name].results.clear()
    base = found["clone"]
    over = {
        name: statistics.median(one / clone for one, clone in zip(times, base, strict=True))
        for name, times in found.items()
    }
    return {**over, "clone": statistics.median(base)}


def cpu_clock(*, wanted: bool = True) -> AbstractContextManager[Any]:
    """While it lasts, samples on a CPU are CPU time of this thread."""
    return mock.patch.object(timing, "_now_ns", time.thread_time_ns) if wanted else nullcontext()


def cpu_ratios(problem: Problem, turns: int) -> dict[str, float]:
    """``ratios`` of CPU time on one thread, for a process that does nothing else."""
    torch.set_num_threads(1)
    gc.disable()
    with cpu_clock():
        return ratios(problem, torch.device("cpu"), turns)


def print_table(batch: int, turns: int, cpu_time: bool) -> None:
    torch.set_num_threads(1)
    gc.disable()
    device = resolve_device("auto")
    machine = describe(device, Measure())
    flush = timing.flush_buffer(device, cache=machine.cache, cache_bytes=machine.cache_bytes)
    print(
        f"{'over clone':34} {'clone ms':>9} {'A/A':>5} {'forward':>8} {'gradient':>9} {'autograd':>9}"
        "   published: forward gradient",
        flush=True,
    )
    groups: dict[str, list[dict[str, float]]] = defaultdict(list)
    with cpu_clock(wanted=cpu_time):
        for dtype in (Dtype.FLOAT32, Dtype.BFLOAT16):
            for name, stage in problems(batch):
                for pattern in Pattern:
                    found = ratios(replace(stage, dtype=dtype, pattern=pattern), device, turns, flush)
                    groups[f"{dtype}, {'detection' if stage.padded else 'stages'}, {pattern}"].append(found)
                    print(_row(f"{name} {stage.resolution} {pattern} {dtype}", found), flush=True)
    print(f"\n{'median, largest':34} {'forward':>15} {'gradient less autograd':>24}   published: forward gradient")
    for group, rows in groups.items():
        print(_summary(group, rows))
    print(f"To be at most {FORWARD_LIMIT} and {GRADIENT_LIMIT}.", end=" ")
    print(f"On {machine.device_name}, {turns} turns each, batch {batch}, 1 with detection maps.", end=" ")
    print(f"Load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")


def _row(title: str, found: Mapping[str, float]) -> str:
    return (
        f"{title:34} {found['clone']:9.4f} {found['A/A']:5.2f} {found['shared']:8.2f} {found['shared gradient']:9.2f}"
        f" {found['autograd']:9.2f} {found['published']:20.2f} {found['published gradient']:8.2f}"
    )


def _summary(group: str, rows: Sequence[Mapping[str, float]]) -> str:
    forward = [row["shared"] for row in rows]
    gradient = [row["shared gradient"] - row["autograd"] for row in rows]
    published = [row["published"] for row in rows]
    published_gradient = [row["published gradient"] - row["autograd"] for row in rows]
    return (
        f"{group:34} {statistics.median(forward):8.2f} {max(forward):6.2f} {statistics.median(gradient):17.2f}"
        f" {max(gradient):6.2f} {statistics.median(published):20.2f} {statistics.median(published_gradient):8.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=2, help="images, but for the maps of detection")
    parser.add_argument("--turns", type=int, default=21)
    parser.add_argument("--cpu-clock", action="store_true", help="CPU time of the thread instead of the time")
    arguments = parser.parse_args()
    os.environ.update(_STEADY)  # read when a process starts
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(print_table, (arguments.batch, arguments.turns, arguments.cpu_clock))


if __name__ == "__main__":
    main()
