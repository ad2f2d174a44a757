"""What measuring itself takes on a CPU, of a call that does nothing: run as a script.

The upper table has nanoseconds a call: our sampler, the same loop written out by hand, and
``torch.utils.benchmark.Timer``, each with as many calls a sample, in turn, 10th percentiles. A function that returns
its argument costs the same in all three, so that what they differ by is the instrument's. The lower table has what a
sample takes beyond its timed span: the wall time round ``Sampler.take``, and round telling the parent first, as
workers do, less the span. Such time is lost, but never part of a latency.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from attnbench.execution.messages import Entered, Stage, encode
from attnbench.measure.timing import CpuSampler, no_garbage_collection, turns
from attnbench.stats import percentile

SAMPLE_MS = 10.0
"""Length that a sample has at least."""


def nothing(x: Tensor) -> Tensor:
    return x


def by_hand_ns(call: Callable[[Tensor], Tensor], x: Tensor, calls: int) -> float:
    """Nanoseconds a call of the bare loop."""
    began = time.perf_counter_ns()
    for _ in range(calls):
        call(x)
    return (time.perf_counter_ns() - began) / calls


def sampled_ns(sampler: CpuSampler) -> float:
    """Nanoseconds a call of one more sample."""
    sampler.take()
    return 1e6 * sampler.timing.samples_ms[-1]


def outside_us(sampler: CpuSampler, take: Callable[[], None]) -> float:
    """Microseconds that one more sample takes beyond its timed span."""
    began = time.perf_counter_ns()
    take()
    wall_ns = time.perf_counter_ns() - began
    return (wall_ns - 1e6 * sampler.timing.samples_ms[-1] * sampler.calls) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=200, help="of every kind")
    samples: int = parser.parse_args().samples

    torch.set_num_threads(1)
    x = torch.zeros(1)
    sampler = CpuSampler(nothing, x, None)
    calls = sampler.calls
    timer = Timer("call(x)", globals={"call": nothing, "x": x})
    parent = os.open(os.devnull, os.O_WRONLY)

    def told_and_taken() -> None:
        os.write(parent, encode(Entered(backend="nothing", stage=Stage.SAMPLE, expected_s=sampler.expected_s)))
        sampler.take()

    per_call_ns: dict[str, Callable[[], float]] = {
        "attnbench": lambda: sampled_ns(sampler),
        "loop by hand": lambda: by_hand_ns(nothing, x, calls),
        "Timer": lambda: 1e9 * timer.timeit(calls).median,
    }
    per_sample_us: dict[str, Callable[[], float]] = {
        "Sampler.take": lambda: outside_us(sampler, sampler.take),
        "telling the parent as well": lambda: outside_us(sampler, told_and_taken),
    }
    with no_garbage_collection():
        times_ns = in_turn(per_call_ns, samples)
        lost_us = in_turn(per_sample_us, samples)

    base_ns = percentile(times_ns["loop by hand"], 10)
    print(f"{'one call that does nothing':28} {'ns':>8} {'beyond the loop by hand, ns':>28}")
    for name, times in times_ns.items():
        print(f"{name:28} {percentile(times, 10):8.1f} {percentile(times, 10) - base_ns:28.1f}")
    print(f"\n{'outside the timed span':28} {'median us':>9} {'90th us':>8} {'median, of a 10 ms sample':>26}")
    for name, times in lost_us.items():
        median_us = percentile(times, 50)
        print(f"{name:28} {median_us:9.1f} {percentile(times, 90):8.1f} {median_us / (10 * SAMPLE_MS):25.2f}%")
    print(
        f"{samples} samples of {calls} calls each. What the first table shows beyond the loop by hand is in every "
        "latency;\nwhat the second shows is in none, and lengthens a run."
    )


def in_turn(sources: dict[str, Callable[[], float]], samples: int) -> dict[str, list[float]]:
    """Samples of every source, by name, taken in turn."""
    names = list(sources)
    found: dict[str, list[float]] = {name: [] for name in names}
    for order in itertools.islice(turns(len(names)), samples):
        for index in order:
            found[names[index]].append(sources[names[index]]())
    return found


if __name__ == "__main__":
    main()
