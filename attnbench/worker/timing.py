"""Latency of a call: raw samples, in milliseconds, a turn at a time."""

from __future__ import annotations

import math
import random
import resource
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from attnbench.core.protocol import Shown
from attnbench.core.record import Cache

# Bound before any foreign module is imported: whatever replaces them later changes nothing here.
_now_ns = time.perf_counter_ns
_usage = resource.getrusage
_range = range
_synchronize: Callable[[torch.device], None] = torch.cuda.synchronize
_random_bits = random.SystemRandom().getrandbits
_sleep: Callable[[int], None] = torch.cuda._sleep  # noqa: SLF001 - the only way to fill the queue
_Event: type[torch.cuda.Event] = torch.cuda.Event
_clone: Callable[[Tensor], Tensor] = Tensor.clone

_GPU_BATCH = 20
"""Samples in flight on a GPU before the host looks at them."""
_SAMPLE_MS = 10.0
"""A sample is the fastest of the timed loops that fill so much time on the CPU."""
_LOOP_MS = 0.5
"""Least length of a loop, which is short enough that some are not interrupted: on a virtual machine most processes then
differ by 1.5 instead of 8 % (docs/figures.md)."""
_DIGITS = 6
"""Of milliseconds: the clock counts nanoseconds."""
_SETTLING_S = 0.5
_SETTLED = 0.01
_SETTLING_MS = 30.0
"""Medians over so much work are compared, or over a full batch."""
_WARM_UP_CALLS = 2
_WARM_UP_LOOPS = 4
_WARM_UP_MS = 3.0
"""Of loops before the first sample, which is then as fast as the others (docs/figures.md)."""
_BATCH_MS = 200.0
"""A batch takes no longer than about this, so that long calls keep to their budget."""
_SHORT_MS = 1.0
_QUEUE = 1000
"""Launches that a stream holds before the next one waits: 1,024, a few of which are not ours."""
_LAUNCH_MS = 2.5e-3
"""The least that a launch takes the host; a call has no more of them than fit into its time."""
_OWN_LAUNCHES = 3
"""Of a sample: two events and the flush."""
_LAUNCH_SHARE = 0.2
"""A GPU call that is shorter, or spends more of its time in its launch, could wait for its own launch: the queue is
filled before a batch of them."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one turn gave."""

    samples_ms: tuple[float, ...]
    calls: int
    """Timed calls, of which the samples are the fastest on a CPU."""
    called_s: float
    """In all of them."""
    timed_s: float
    """In them, and in what overwrites the cache between them."""
    page_faults: int
    involuntary_switches: int
    late_s: float
    """That a GPU went on working after the last timed call had ended."""


class Sampler(ABC):
    """Times one call, a turn at a time, so that several processes can be sampled in turn.

    Args:
        call: What to time.
        flush: Written before every timed call where the caches shall be cold.
    """

    calls = 1
    """Calls in one timed loop."""
    host_ms: float | None = None
    """On a GPU, time until the call returned to Python."""

    def __init__(self, call: Callable[[Tensor], Any], flush: Tensor | None) -> None:
        self._call, self._flush = call, flush
        self.results: dict[Shown, Any] = {}
        """What calls gave; on a GPU that of the last timed call counts, whichever is the fastest."""
        self.longest_s = 0.0
        """Of the warm-up and every sample, or batch of samples."""
        self._counted, self._called_ms, self._fastest_ms = 0, 0.0, math.inf
        """Of the turn: timed calls, their time, and that of one of the fastest."""
        self._best_ms = math.inf
        """The fastest sample of all turns."""

    def warm_up(self, x: Tensor, *, settle: bool) -> None:
        """Call it until a sample means something, and find out how many calls one holds.

        Args:
            x: The input.
            settle: Whether to go on until a device that was idle has reached its steady clock.
        """
        began = _now_ns()
        self._warm_up(x)
        self.longest_s = _s_since(began)
        if settle:
            self._settle(x)

    def take_turn(self, x: Tensor, budget_s: float) -> Turn:
        """Samples for some time, one at least. Nothing is decided by what is found.

        Args:
            x: The input.
            budget_s: For the samples.
        """
        samples: list[float] = []
        spent_s = 0.0
        self._counted, self._called_ms, self._fastest_ms = 0, 0.0, math.inf
        self.results[Shown.TIMED] = self.results[Shown.FRESH] = None
        before = _usage(resource.RUSAGE_SELF)
        while not samples or spent_s < budget_s:
            found, took_s = self._take(x)
            samples += found
            spent_s += took_s
            self.longest_s = max(self.longest_s, took_s)
        if x.device.type == "cpu" and min(samples) < self._best_ms:
            self._best_ms = min(samples)
            self.results[Shown.FASTEST] = self.results[Shown.TIMED]
        after = _usage(resource.RUSAGE_SELF)
        return Turn(
            samples_ms=tuple(samples),
            calls=self._counted,
            called_s=self._called_ms / 1e3,
            timed_s=spent_s,
            page_faults=after.ru_minflt - before.ru_minflt,
            involuntary_switches=after.ru_nivcsw - before.ru_nivcsw,
            late_s=self._late_s(x),
        )

    @abstractmethod
    def _warm_up(self, x: Tensor) -> None:
        """Once, before the first turn."""

    @abstractmethod
    def _settle(self, x: Tensor) -> None:
        """On samples that do not count."""

    @abstractmethod
    def once(self, x: Tensor) -> float:
        """The time of one call by itself, in milliseconds."""

    @abstractmethod
    def _take(self, x: Tensor) -> tuple[list[float], float]:
        """One sample, or as many as belong together, and the seconds all of it took."""

    @abstractmethod
    def _late_s(self, x: Tensor) -> float:
        """How long the device goes on working although every timed call has ended."""


@final
class CpuSampler(Sampler):
    """A sample is the fastest of the loops that fill 10 ms; where the caches shall be cold, one call alone."""

    def _warm_up(self, x: Tensor) -> None:
        once_ms = self._loop(x, 1)[0]
        if self._flush is not None:
            return  # a loop would warm its own cache
        # The first calls are slow ones: fill loops by the fastest call so far, until that changes nothing.
        for _ in _range(_WARM_UP_LOOPS):
            once_ms = min(once_ms, self._loop(x, self.calls)[0] / self.calls)
            known, self.calls = self.calls, max(self.calls, math.ceil(_WARM_UP_MS / max(once_ms, 1e-5)))
            if self.calls == known:
                break
        self.calls = max(1, math.ceil(_LOOP_MS / max(once_ms, 1e-5)))

    def _settle(self, x: Tensor) -> None:
        """The loops of the warm-up have done it."""

    def once(self, x: Tensor) -> float:
        """The time of one call by itself, in milliseconds."""
        took_ms, result = self._loop(x, 1)
        # Copied at once: what somebody else fills in later would be right when it is looked at.
        self.results[Shown.FRESH] = _copied(result)
        return took_ms

    def _take(self, x: Tensor) -> tuple[list[float], float]:
        began = _now_ns()
        fastest_ms, sampled_ms = math.inf, 0.0
        while sampled_ms < _SAMPLE_MS:
            # Nobody shall know which call is the last of a loop, of which the output is checked.
            calls = self.calls + (self.calls > 1 and _random_bits(1))
            if self._flush is not None:
                self._flush.zero_()
            took_ms, result = self._loop(x, calls)
            sampled_ms += took_ms
            self._counted += calls
            fastest_ms = min(fastest_ms, took_ms / calls)
            if took_ms / calls < self._fastest_ms:
                self._fastest_ms = took_ms / calls
                self.results[Shown.TIMED] = result
            del result
            if self._flush is not None:
                break
        self._called_ms += sampled_ms
        return [round(fastest_ms, _DIGITS)], _s_since(began)

    def _loop(self, x: Tensor, calls: int) -> tuple[float, Any]:
        """The time of a loop in milliseconds, and what its last call gave."""
        call, loop = self._call, _range(calls)
        # What a call gives is let go before the next one, as a model would; the last one is kept to be looked at. All
        # are called from one line: who asks where he was called from learns nothing.
        began = _now_ns()
        for _ in loop:
            result = None
            result = call(x)
        return (_now_ns() - began) / 1e6, result

    def _late_s(self, x: Tensor) -> float:
        return 0.0


@final
class CudaSampler(Sampler):
    """Samples are pairs of events, taken in batches between which alone the host waits."""

    def _warm_up(self, x: Tensor) -> None:
        for _ in range(_WARM_UP_CALLS):
            self._call(x)
        _synchronize(x.device)
        host_ms = []
        for _ in range(_WARM_UP_CALLS):  # a single one may meet anything
            began = _now_ns()
            self._call(x)
            host_ms.append(_s_since(began) * 1e3)
            _synchronize(x.device)
            self._once_ms = _s_since(began) * 1e3
        self.host_ms = min(host_ms)

    def _settle(self, x: Tensor) -> None:
        began = _now_ns()
        medians: list[float] = []
        while _s_since(began) < _SETTLING_S:
            samples: list[float] = []
            while len(samples) < _GPU_BATCH and (not samples or sum(samples) < _SETTLING_MS):
                samples += self._take(x)[0]
            medians.append(statistics.median(samples))
            last = medians[-3:]
            if len(last) == 3 and max(last) <= (1 + _SETTLED) * min(last):  # noqa: PLR2004
                break

    def once(self, x: Tensor) -> float:
        """The time of one call by itself, in milliseconds."""
        before, after = _Event(enable_timing=True), _Event(enable_timing=True)
        _synchronize(x.device)
        _sleep(_cycles(2 * (self.host_ms or 0.0)))
        before.record()
        self.results[Shown.FRESH] = self._call(x)
        after.record()
        after.synchronize()
        return before.elapsed_time(after)

    def _take(self, x: Tensor) -> tuple[list[float], float]:
        began = _now_ns()
        batch = self._batch()
        events = [(_Event(enable_timing=True), _Event(enable_timing=True)) for _ in range(batch)]
        host_ms = self.host_ms or 0.0
        self.results[Shown.TIMED] = None  # it makes room for the next one
        if self._once_ms < _SHORT_MS or host_ms > _LAUNCH_SHARE * self._once_ms:
            # Launching a batch, flushes included, takes the host about this long.
            _sleep(_cycles(2 * batch * host_ms))
        for before, after in events:
            if self._flush is not None:
                self._flush.zero_()
            before.record()
            result = self._call(x)
            after.record()
            if after is events[-1][1]:
                self.results[Shown.TIMED] = result
            del result
        events[-1][1].synchronize()
        samples = [before.elapsed_time(after) for before, after in events]
        self._counted += len(samples)
        self._called_ms += sum(samples)
        return samples, _s_since(began)

    def _batch(self) -> int:
        """Samples in flight: not so many that the host has to wait for a place in the queue, which would show."""
        launches = (self.host_ms or 0.0) / _LAUNCH_MS + _OWN_LAUNCHES
        return max(1, min(_GPU_BATCH, int(_QUEUE / launches), int(_BATCH_MS / max(self._once_ms, 1e-3))))

    def _late_s(self, x: Tensor) -> float:
        # Work on another stream than the one the events are on: nobody has timed it.
        began = _now_ns()
        _synchronize(x.device)
        return _s_since(began)


def sampler(call: Callable[[Tensor], Any], device: torch.device, flush: Tensor | None) -> Sampler:
    """The sampler of a device."""
    return (CudaSampler if device.type == "cuda" else CpuSampler)(call, flush)


def _copied(result: Any) -> Any:
    if type(result) is Tensor:
        return _clone(result.detach())
    return tuple(map(_copied, result)) if type(result) is tuple else result


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
        # torch raises twice: why the capture ended stands in the first error.
        cause = error.__context__ if isinstance(error.__context__, RuntimeError) else error
        raise NotCapturable(" ".join(str(cause).split())) from None

    def replay(_: Tensor) -> Any:
        graph.replay()
        return result

    return replay


def flush_buffer(device: torch.device, *, cache: Cache, cache_bytes: int) -> Tensor | None:
    """Twice the last-level cache, to be overwritten before every cold call; None where caches stay hot."""
    if cache is Cache.HOT:
        return None
    return torch.empty(2 * max(cache_bytes, 1), dtype=torch.int8, device=device)


def _cycles(milliseconds: float) -> int:
    # About 2 GHz; too long a sleep costs a little time, too short a one lets launches show.
    return int(milliseconds * 2e6)


def _s_since(began_ns: int) -> float:
    return (_now_ns() - began_ns) / 1e9
