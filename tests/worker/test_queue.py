"""Latencies of a simulated GPU: launches take the host time, the queue holds 1,024, a flush makes the cache cold."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from attnbench.worker import timing
from attnbench.worker.timing import CudaSampler

X = torch.zeros(1)
DEPTH, START_NS, GAP_NS, GHZ = 1024, 4_000, 1_000, 2.0


@dataclass
class Gpu:
    """Time in nanoseconds."""

    host: float = 0.0
    done: float = 0.0
    """When the last launch that was queued ends."""
    queue: list[float] = field(default_factory=list)
    cold: bool = False

    def launch(self, host_ns: float, device_ns: float, gap_ns: float = GAP_NS) -> float:
        """Queue some work, waiting for a place; gives the time it ends."""
        self.host += host_ns
        self.queue = [end for end in self.queue if end > self.host]
        if len(self.queue) >= DEPTH:
            self.host = self.queue[len(self.queue) - DEPTH]
        self.done = max(self.host + START_NS, self.done + gap_ns) + device_ns
        self.queue.append(self.done)
        return self.done

    def synchronize(self, _: object = None) -> None:
        self.host = max(self.host, self.done) + 8_000

    def zero_(self) -> None:
        """The flush: 105 MB."""
        self.launch(5_000, 40_000)
        self.cold = True


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    gpu = Gpu()

    class Event:
        def __init__(self, **_: object) -> None:
            gpu.host += 300

        def record(self) -> None:
            self.at = gpu.launch(1_500, 0.0, 0.0)

        def synchronize(self) -> None:
            gpu.synchronize()

        def elapsed_time(self, other: Event) -> float:
            return (other.at - self.at) / 1e6

    monkeypatch.setattr(timing, "_now_ns", lambda: round(gpu.host))
    monkeypatch.setattr(timing, "_Event", Event)
    monkeypatch.setattr(timing, "_sleep", lambda cycles: gpu.launch(3_000, cycles / GHZ))
    monkeypatch.setattr(timing, "_synchronize", gpu.synchronize)
    return gpu


def call_of(gpu: Gpu, kernels: int, host_us: float, device_us: float) -> Callable[[Tensor], None]:
    """So many kernels, each with its launch; twice as fast where the cache is hot."""

    def call(_: Tensor) -> None:
        gpu.host += 15_000
        for _kernel in range(kernels):
            gpu.launch(1e3 * host_us, 1e3 * device_us * (1.0 if gpu.cold else 0.5))
        gpu.cold = False

    return call


@pytest.mark.parametrize("cold", [True, False], ids=["cold", "hot"])
@pytest.mark.parametrize(("kernels", "host_us", "device_us"), [
    (1, 8, 20),  # a graph
    (1, 25, 60),  # one fused kernel
    (3, 12, 25),
    (8, 14, 19),  # naive attention
    (45, 11, 29),  # training
    (90, 11, 9),
    (300, 10, 3),  # a loop over a detection map's windows
    (1, 30, 40_000),
])  # fmt: skip
def test_the_median_is_what_the_device_took(
    kernels: int, host_us: float, device_us: float, cold: bool, gpu: Gpu
) -> None:
    sampler = CudaSampler(call_of(gpu, kernels, host_us, device_us), cast("Any", gpu) if cold else None)
    sampler.warm_up(X, settle=False)
    found_ms = statistics.median(sampler.take_turn(X, 0.3).samples_ms)
    true_ms = kernels * (device_us * (1.0 if cold else 0.5) + GAP_NS / 1e3) / 1e3
    assert found_ms == pytest.approx(true_ms, rel=0.03)
