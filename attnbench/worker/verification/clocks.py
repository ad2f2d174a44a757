"""Latency beside other instruments, and cold caches beside hot ones."""

from __future__ import annotations

import importlib
import importlib.util
import math
import statistics
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from attnbench.backends import registry
from attnbench.core.problem import Problem
from attnbench.core.record import Cache
from attnbench.core.verification import Figure
from attnbench.worker.call import Call
from attnbench.worker.environment import cache_bytes_of
from attnbench.worker.reference import make_inputs
from attnbench.worker.timing import Sampler, flush_buffer, sampler

_Instrument = Callable[[Call, Tensor, int], float]
"""Milliseconds of a call on an input; on a CPU, of so many calls in a loop."""
_BACKENDS = ("naive", "sdpa")
_PROBLEM = Problem(batch=2, height=28, width=28, window_height=7, window_width=7, heads=4, head_dim=32)
_ROUNDS = 31
_AGREE = 0.06
"""What two instruments may differ by; a clock that is off by a tenth is found."""
_COLDER = 1.1
_STANDARD_ERRORS = 1.96
_TURN_S, _BRIEFLY_S = 0.15, 0.05
_PARTS = 5
"""In which a CPU's turns are cut, each as long as a sample."""


def agreement(device: torch.device) -> Iterator[Figure]:
    """Our latency over that of the instruments most people use, on the same function in the same process."""
    instruments: dict[str, _Instrument] = {"torch.utils.benchmark": _by_timer}
    if device.type == "cuda":
        instruments = {"events by hand": _by_events, "triton.testing.do_bench": _by_do_bench}
    for instrument, measured in instruments.items():
        if measured is _by_do_bench and importlib.util.find_spec("triton") is None:
            yield Figure(check="agreement", of=instrument, absent="triton is not installed: pip install triton")
            continue
        ratios = []
        for backend in _BACKENDS:
            inputs = make_inputs(_PROBLEM, device=device, seed=0)
            call = Call(registry.load(backend)(), _PROBLEM, inputs)
            with torch.inference_mode():
                ratios += _ratios(call, call.input(inputs.x), measured)
        low, high = median_interval(ratios)
        of = f"{instrument}, {' and '.join(_BACKENDS)}; 95 % interval {low:.3f} to {high:.3f}"
        yield Figure(check="agreement", of=of, value=statistics.median(ratios), least=1 - _AGREE, most=1 + _AGREE)


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a median, between two of the values (Conover 1999, section 3.2).

    >>> median_interval(range(1, 101))
    (41, 60)
    """
    ordered = sorted(values)
    apart = _STANDARD_ERRORS * math.sqrt(len(ordered)) / 2
    first = max(0, math.ceil(len(ordered) / 2 - apart) - 1)
    return ordered[first], ordered[len(ordered) - 1 - first]


def _ratios(call: Call, x: Tensor, measured: _Instrument) -> list[float]:
    """Ours over theirs in every round, taken in turn so that what slows one slows both."""
    cache = Cache.COLD if x.device.type == "cuda" else Cache.HOT
    ours = sampler(call, x.device, flush_buffer(x.device, cache=cache, cache_bytes=cache_bytes_of(x.device)))
    ours.warm_up(x, settle=True)
    parts = 1 if x.device.type == "cuda" else _PARTS
    ratios = []
    for turn in range(_ROUNDS):
        found = [math.inf, math.inf]
        for part in range(parts):  # both look for as long, and at the same moments
            for which in ((turn + part) % 2, (turn + part + 1) % 2):
                took_ms = measured(call, x, ours.calls) if which else _briefly_ms(ours, x, _BRIEFLY_S / parts)
                found[which] = min(found[which], took_ms)
        ratios.append(found[0] / found[1])
    return ratios


def _briefly_ms(ours: Sampler, x: Tensor, seconds: float) -> float:
    samples = ours.take_turn(x, seconds).samples_ms
    return statistics.median(samples) if x.device.type == "cuda" else min(samples)


def _by_timer(call: Call, x: Tensor, calls: int) -> float:
    timer = Timer("call(x)", globals={"call": call, "x": x}, num_threads=1)
    fastest_ms = 1e3 * timer.timeit(calls).median
    # As many loops as ours has in that time.
    for _ in range(round(_BRIEFLY_S / _PARTS / (fastest_ms * calls / 1e3)) - 1):
        fastest_ms = min(fastest_ms, 1e3 * timer.timeit(calls).median)
    return fastest_ms


def _by_events(call: Call, x: Tensor, _: int) -> float:
    flush = flush_buffer(x.device, cache=Cache.COLD, cache_bytes=cache_bytes_of(x.device))
    assert flush is not None
    times = []
    for _ in range(20):
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        flush.zero_()
        torch.cuda._sleep(2_000_000)  # noqa: SLF001 - about a millisecond: the launch lies behind it
        before.record()
        call(x)
        after.record()
        after.synchronize()
        times.append(before.elapsed_time(after))
    return statistics.median(times)


def _by_do_bench(call: Call, x: Tensor, _: int) -> float:
    do_bench = importlib.import_module("triton.testing").do_bench
    return float(do_bench(lambda: call(x), warmup=5, rep=20, quantiles=[0.5]))


def cold_beside_hot(device: torch.device) -> Iterator[Figure]:
    """How much longer a copy takes whose data was flushed from the last-level cache, which would hold it."""
    cache_bytes = cache_bytes_of(device)
    of = f"a copy that moves {cache_bytes / 4 / 2**20:.3g} MiB"
    source = torch.rand(max(1, cache_bytes // 32), device=device)
    target = torch.empty_like(source)
    found = {}
    for cache in Cache:
        timed = sampler(target.copy_, device, flush_buffer(device, cache=cache, cache_bytes=cache_bytes))
        timed.warm_up(source, settle=True)
        found[cache] = statistics.median(timed.take_turn(source, _TURN_S).samples_ms)
    yield Figure(check="cold", of=of, value=found[Cache.COLD] / found[Cache.HOT], least=_COLDER)
