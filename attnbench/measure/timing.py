"""Latency of a call: raw samples, in milliseconds."""

from __future__ import annotations

import gc
import math
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from attnbench.record import Cache

_FEWEST_SAMPLES = 3
_GPU_BATCH = 20
"""Samples in flight on a GPU before the host looks at them."""
_SAMPLE_MS = 10.0
"""Least length of a timed loop on the CPU."""
_MAX_SAMPLES = 1000
_TURN_MS = 50.0
_LEAST_MS = 100.0
"""Samples are taken until they hold at least this much time, however many they are."""
_SETTLING_S = 0.5
_SETTLED = 0.01
_WARM_UP_CALLS = 2
_WARM_UP_LOOPS = 3
_BATCH_MS = 200.0
"""A batch takes no longer than about this, so that long calls keep to their budget."""
_SHORT_MS = 1.0
_LAUNCH_SHARE = 0.2
"""A GPU call that is shorter, or spends more of its time in its launch, could wait for its own launch: the queue is
filled before a batch of them."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Raw latencies of one call."""

    samples_ms: tuple[float, ...]
    calls_per_sample: int
    host_ms: float | None
    """Time until the call returned to Python; None on the CPU, where it is the latency."""
    warm_up_s: float
    timed_s: float


class Sampler(ABC):
    """Times one call, a little at a time, so that several can be sampled in turn.

    Args:
        call: What to time; it is warmed up here.
        x: Its input.
        flush: Written before every timed call where the caches shall be cold.
        in_flight: Called while a GPU works on samples and the host would only wait.
    """

    calls = 1
    """Calls in one sample."""
    host_ms: float | None = None

    def __init__(
        self,
        call: Callable[[Tensor], Any],
        x: Tensor,
        flush: Tensor | None,
        in_flight: Callable[[], None] = lambda: None,
    ) -> None:
        self._call, self._x, self._flush, self._in_flight = call, x, flush, in_flight
        self._samples_ms: list[float] = []
        self._spent_ms = 0.0
        began = time.perf_counter_ns()
        self._warm_up()
        self._warm_up_ms = self._longest_ms = _ms_since(began)

    @property
    def expected_s(self) -> float:
        """What the next turn should take: besides its time, one sample as long as warming up, or any before it."""
        return (self._longest_ms + _TURN_MS) / 1e3

    @abstractmethod
    def _warm_up(self) -> None:
        """Call it until a sample means something, and find out how many calls one holds."""

    @abstractmethod
    def _take(self) -> list[float]:
        """One sample, or as many as belong together."""

    def take(self) -> None:
        """Add a sample, or as many as belong together."""
        began = time.perf_counter_ns()
        self._samples_ms += self._take()
        took_ms = _ms_since(began)
        self._spent_ms += took_ms
        self._longest_ms = max(self._longest_ms, took_ms)

    def take_turn(self, max_time_s: float) -> None:
        """Add samples for a twentieth of a second, as far as the budget goes.

        That is often enough to share the machine's moods with the other cells, and seldom enough that telling whose
        turn it is disturbs nobody.
        """
        end_ms = self._spent_ms + _TURN_MS
        while self._spent_ms < end_ms and self.wants_more(max_time_s):
            self.take()

    def wants_more(self, max_time_s: float) -> bool:
        """Whether the budget leaves room for more; three samples are taken always.

        The budget is fixed: nothing is decided by what was found.
        """
        if len(self._samples_ms) < _FEWEST_SAMPLES:
            return True
        enough = len(self._samples_ms) >= _MAX_SAMPLES and sum(self._samples_ms) * self.calls >= _LEAST_MS
        return self._spent_ms < 1e3 * max_time_s and not enough

    @abstractmethod
    def _settle(self) -> None:
        """Let a device that was idle reach its steady clock, on samples that do not count."""

    def settle(self) -> None:
        """Call it until the device has reached its steady clock."""
        began = time.perf_counter_ns()
        self._settle()
        self._warm_up_ms += _ms_since(began)

    @property
    def timing(self) -> Timing:
        """What was found so far."""
        return Timing(
            samples_ms=tuple(self._samples_ms),
            calls_per_sample=self.calls,
            host_ms=self.host_ms,
            warm_up_s=self._warm_up_ms / 1e3,
            timed_s=self._spent_ms / 1e3,
        )


@final
class CpuSampler(Sampler):
    """A sample is a loop of at least 10 ms; where the caches shall be cold, one call alone."""

    def _warm_up(self) -> None:
        once_ms = min(self._loop_ms(1) for _ in range(_WARM_UP_CALLS))
        if self._flush is not None:
            return  # a loop would warm its own cache
        # The first calls are slow ones: fill loops by the fastest call so far, as far as that takes little time.
        for _ in range(_WARM_UP_LOOPS):
            self.calls = max(self.calls, math.ceil(_SAMPLE_MS / max(once_ms, 1e-5)))
            if self.calls == 1 and once_ms > _WARM_UP_LOOPS * _SAMPLE_MS:
                break
            once_ms = min(once_ms, self._loop_ms(self.calls) / self.calls)

    def _take(self) -> list[float]:
        if self._flush is not None:
            self._flush.zero_()
        return [self._loop_ms(self.calls) / self.calls]

    def _settle(self) -> None:
        """The loops of the warm-up have done it."""

    def _loop_ms(self, calls: int) -> float:
        call, x, loop = self._call, self._x, range(calls)
        began = time.perf_counter_ns()
        for _ in loop:
            call(x)
        return _ms_since(began)


@final
class CudaSampler(Sampler):
    """Samples are pairs of events, taken in batches between which alone the host waits."""

    def _warm_up(self) -> None:
        for _ in range(_WARM_UP_CALLS):
            self._call(self._x)
        torch.cuda.synchronize(self._x.device)
        began = time.perf_counter_ns()
        self._call(self._x)
        self.host_ms = _ms_since(began)
        torch.cuda.synchronize(self._x.device)
        self._once_ms = _ms_since(began)

    def _settle(self) -> None:
        began = time.perf_counter()
        medians: list[float] = []
        while time.perf_counter() - began < _SETTLING_S:
            medians.append(statistics.median(self._take()))
            last = medians[-3:]
            if len(last) == 3 and max(last) <= (1 + _SETTLED) * min(last):  # noqa: PLR2004
                break

    def _take(self) -> list[float]:
        batch = max(1, min(_GPU_BATCH, int(_BATCH_MS / max(self._once_ms, 1e-3))))
        events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(batch)]
        host_ms = self.host_ms or 0.0
        if self._once_ms < _SHORT_MS or host_ms > _LAUNCH_SHARE * self._once_ms:
            # Launching a batch, flushes included, takes the host about this long.
            torch.cuda._sleep(_cycles(2 * batch * host_ms))  # noqa: SLF001 - the only way to fill the queue
        for before, after in events:
            if self._flush is not None:
                self._flush.zero_()
            before.record()
            self._call(self._x)
            after.record()
        self._in_flight()
        torch.cuda.synchronize(self._x.device)
        return [before.elapsed_time(after) for before, after in events]


def sampler(
    call: Callable[[Tensor], Any], x: Tensor, flush: Tensor | None, in_flight: Callable[[], None] = lambda: None
) -> Sampler:
    """The sampler of the device that ``x`` lies on."""
    return (CudaSampler if x.device.type == "cuda" else CpuSampler)(call, x, flush, in_flight)


class NotCapturable(Exception):
    """A call that no CUDA graph can hold: it waits for the device, or allocates outside torch."""


def captured(call: Callable[[Tensor], Any], x: Tensor) -> Callable[[Tensor], Any]:
    """The call as one CUDA graph, which computes from ``x`` whatever it is given.

    Raises:
        NotCapturable: It cannot be captured; this process should capture nothing more.
    """
    side = torch.cuda.Stream(x.device)
    side.wait_stream(torch.cuda.current_stream(x.device))
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP_CALLS):
            call(x)
    torch.cuda.current_stream(x.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            result = call(x)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise NotCapturable(" ".join(str(error).split())) from None

    def replay(_: Tensor) -> Any:
        graph.replay()
        return result

    return replay


def flush_buffer(device: torch.device, *, cache: Cache, cache_bytes: int) -> Tensor | None:
    """Twice the last-level cache, to be overwritten before every cold call; None where caches stay hot."""
    if cache is Cache.HOT:
        return None
    return torch.empty(2 * max(cache_bytes, 1), dtype=torch.int8, device=device)


def turns(count: int) -> Iterator[list[int]]:
    """Orders of sampling, without end: A B C, C A B, B C A, ..."""
    order = list(range(count))
    while True:
        yield order
        order = [*order[-1:], *order[:-1]]


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep Python's collector from running in the middle of a sample."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _cycles(milliseconds: float) -> int:
    # About 2 GHz; too long a sleep costs a little time, too short a one lets launches show.
    return int(milliseconds * 2e6)


def _ms_since(began_ns: int) -> float:
    return (time.perf_counter_ns() - began_ns) / 1e6
