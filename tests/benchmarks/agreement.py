"""Our latency beside the instrument most people use, on the same functions in one process: run as a script.

On a CPU ``torch.utils.benchmark.Timer`` runs as many calls a sample as we do, on one thread, with hot caches. On a GPU
``triton.testing.do_bench`` overwrites the L2 before every call with a buffer of its own, so our cold mode stands beside
it. The two sample in turn and swap who goes first, both without Python's collector, so that whatever slows the machine
meets both. The statistic is the one a process of ours has: the 10th percentile on a CPU, the median on a GPU.

A/A is half of our samples over the other half, taken at both places in a turn: what the machine alone makes differ,
somewhat overstated because a half has fewer samples. On a machine that is slow now and then, the median of the ratios
turn by turn says more than the ratio of two percentiles. Beyond noise there are two causes on a CPU, both small: Timer
compiles its statement where we loop in Python, nanoseconds a call; and it makes at least two untimed calls before every
sample, which meet caches that a single call of ours has to fill. On a GPU ``do_bench`` lets the launch of a short call
show, which our filled queue hides.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from attnbench.backends import registry
from attnbench.core.problem import Problem
from attnbench.core.record import Measure
from attnbench.core.stats import process_statistic
from attnbench.suite.expansion import load_suite
from attnbench.worker.call import Call
from attnbench.worker.environment import describe, resolve_device
from attnbench.worker.reference import make_inputs
from attnbench.worker.timing import Sampler, flush_buffer, sampler

CALLS = (
    ("svt_s stage 3", "sdpa"),
    ("svt_s stage 3", "sdpa_math"),
    ("svt_s stage 1", "naive"),
    ("svt_s stage 1", "sdpa_math"),
)
"""Cases of ``quick`` and backends; on a CPU one window of stage 3 comes before them, to reach 0.1 ms."""


def calls(device: torch.device) -> Iterator[tuple[str, Call, Tensor]]:
    """Name, function and input of everything that is timed."""
    suite = load_suite("quick", known_backends=registry.names())
    problems = {case.name: case.problem for case in suite.cases(str(device))}
    wanted: list[tuple[str, Problem, str]] = [(case, problems[case], backend) for case, backend in CALLS]
    if device.type == "cpu":
        window = replace(problems["svt_s stage 3"], batch=1, height=7, width=7)
        wanted.insert(0, ("one 7x7 window", window, "naive"))
    for name, problem, backend in wanted:
        inputs = make_inputs(problem, device=device, seed=0)
        call = Call(registry.load(backend)(), problem, inputs)
        yield f"{name}, {backend}", call, call.input(inputs.x)


def our_sample_ms(ours: Sampler, x: Tensor) -> float:
    """One sample of ours; the median where a GPU's samples belong together."""
    return statistics.median(ours.take_turn(x, 0.0).samples_ms)


def their_instrument(call: Call, x: Tensor, calls: int) -> Callable[[], float]:
    """One turn of theirs, in milliseconds."""
    if x.device.type == "cuda":
        do_bench = importlib.import_module("triton.testing").do_bench
        return lambda: float(do_bench(lambda: call(x), warmup=5, rep=20, quantiles=[0.5]))
    timer = Timer("call(x)", globals={"call": call, "x": x}, num_threads=1)
    once_s = timer.timeit(calls).median * calls
    # As many loops as one of our samples is the fastest of.
    return lambda: min(1e3 * timer.timeit(calls).median for _ in range(max(1, round(0.01 / once_s))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100, help="of ours and of theirs, for every function")
    samples: int = parser.parse_args().samples

    torch.set_num_threads(1)
    gc.disable()
    device = resolve_device("auto")
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        parser.exit(3, "there is no triton to compare with; pip install triton\n")
    machine = describe(device, Measure())
    flush = flush_buffer(device, cache=machine.cache, cache_bytes=machine.cache_bytes)
    print(f"{'function':26} {'calls':>5} {'ours ms':>9} {'theirs ms':>9} {'ours/theirs':>11} {'A/A':>6} {'paired':>7}")
    for name, call, x in calls(device):
        with torch.inference_mode():
            ours = sampler(call, device, flush)
            ours.warm_up(x, settle=True)
            theirs = their_instrument(call, x, ours.calls)
            found: tuple[list[float], list[float]] = ([], [])
            for turn in range(samples):
                for index in (turn % 2, 1 - turn % 2):
                    found[index].append(theirs() if index else our_sample_ms(ours, x))
        our_ms, their_ms = (process_statistic(times, device.type) for times in found)
        halves = [[ms for turn, ms in enumerate(found[0]) if turn // 2 % 2 == half] for half in (0, 1)]
        first_ms, second_ms = (process_statistic(half, device.type) for half in halves)
        paired = statistics.median(ours_ms / theirs_ms for ours_ms, theirs_ms in zip(*found, strict=True))
        print(
            f"{name:26} {ours.calls:5} {our_ms:9.4f} {their_ms:9.4f} {our_ms / their_ms:11.3f} "
            f"{first_ms / second_ms:6.3f} {paired:7.3f}"
        )
    print(
        f"On {machine.device_name}, {samples} samples each. ours/theirs within 0.98 and 1.02 is agreement; "
        "A/A is ours over ours,\nthe noise of this machine; "
        "paired is the median of the ratios turn by turn, which slow spells disturb least."
    )


if __name__ == "__main__":
    main()
