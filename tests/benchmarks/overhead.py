"""What measuring itself takes on a CPU: run as a script.

a. A turn besides its samples, of a kernel of some microseconds, on the parent's clock: from the question to the answer,
   less what the participant timed. Below that its parts: in the participant (collecting garbage and changing the
   inputs are timed once more in a process of this script's own, where turns are taken by the same code), on the way,
   and afterwards what the parent reads of the system and checks before the next one's turn. All of it lengthens a run
   and is in no latency.
b. Nanoseconds a call that does nothing: our sampler, the same loop written out by hand, and
   ``torch.utils.benchmark.Timer``, each with as many calls a sample, in turn, 10th percentiles. A function that returns
   its argument costs the same in all three: what they differ by is the instrument's, and is in every latency.
"""

from __future__ import annotations

import argparse
import gc
import math
import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from attnbench.core.channel import decode, encode, memory_file
from attnbench.core.problem import Problem
from attnbench.core.protocol import Introduce, Message, Prepare, TakeTurn, Turned, Variation, WarmUp
from attnbench.core.record import BackendChoice, Cache, Case, Launch, Measure
from attnbench.core.stats import percentile
from attnbench.run import cell as cells
from attnbench.run.cell_state import Setting
from attnbench.run.events import Cell
from attnbench.run.interpreter import this_interpreter
from attnbench.run.process_pool import Participant, ProcessPool
from attnbench.worker import participant, prepared
from attnbench.worker.reference import make_inputs
from attnbench.worker.tensors import write_tensors
from attnbench.worker.timing import CpuSampler
from attnbench.worker.variation import vary_input

SMALL = Problem(batch=1, height=7, width=7, window_height=7, window_width=7, heads=1)
TURN_S = 0.05
Parts = dict[str, list[float]]
"""Milliseconds, turn by turn."""


class TimedCell(cells.CellRun):
    """One that tells what the parent does after every turn."""

    def __init__(self, *args: Any, parts: Parts, **options: Any) -> None:
        super().__init__(*args, **options)
        self.parts = parts

    def _wait_until_quiet(self) -> None:
        self.parts["quiet"].append(_ms(super()._wait_until_quiet))


def real_turns(count: int) -> Parts:
    """What turns of a participant take, as its parent gives them."""
    parts: Parts = defaultdict(list)
    measure = Measure()
    with closing(ProcessPool(measure)) as pool, mock.patch.object(cells, "_CHECKED_EVERY_S", math.inf):
        one = Participant(choice=BackendChoice(label="naive", name="naive"), interpreter=this_interpreter())
        setting = Setting(
            pool=pool, environment=pool.describe("cpu").environment, measure=measure, baseline="",
            introduced={one: pool.introduce(one, "cpu")}, turn_s=0.05, abandon=lambda: False,
        )  # fmt: skip
        small = Case(name="small", problem=SMALL, device="cpu", threads=1)
        cell = Cell(case=small, backend="naive", position=0, round=0)
        run = TimedCell(cell, one, setting, ceilings=None, parts=parts)
        work = run.work
        run.prepare(settle=True)
        work.drawn = -1  # none of the turns tries a call on new values as well
        process = pool.process(one)
        for _ in range(count):
            wall_s, work.spent_s = work.wall_s, 0.0
            all_ms = _ms(run.take_turn)
            wall_ms, turned = 1e3 * (work.wall_s - wall_s), work.turns[-1]
            parts["besides"].append(wall_ms - 1e3 * turned.timed_s)
            parts["inside"].append(1e3 * (turned.whole_s - turned.timed_s))
            parts["message"].append(wall_ms - 1e3 * turned.whole_s)
            parts["after"].append(all_ms - wall_ms)
            parts["both"].append(all_ms - 1e3 * turned.timed_s)
            parts["threads"].append(_ms(process.threads))
            parts["cpu clock"].append(_ms(process.cpu_s))
            parts["resident"].append(_ms(process.resident_bytes))
            parts["text"].append(_ms(partial(_through_text, turned)))
    return parts


def turns_here(count: int) -> Parts:
    """What is done in a participant before its samples, by the same code in this process."""
    parts: Parts = defaultdict(list)

    def timed(name: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def done(*args: Any) -> Any:
            found = None

            def call() -> None:
                nonlocal found
                found = do(*args)

            parts[name].append(_ms(call))
            return found

        return done

    torch.set_num_threads(1)
    inputs, outputs = memory_file(), memory_file()
    given = make_inputs(SMALL, device=torch.device("cpu"), seed=0)
    named = {"x": given.x, **given.parameters, "output_gradient": given.output_gradient}
    layout = write_tensors(inputs, named, seal=True)
    gc.disable()
    one = participant._Participant()
    one.answer(Introduce(backend="naive", device="cpu", threads=1), [])
    one.answer(Prepare(problem=SMALL, launch=Launch.EAGER, inputs=layout), [inputs, outputs])
    one.answer(WarmUp(cache=Cache.HOT, cache_bytes=0, settle=False), [])
    collector = mock.Mock(collect=timed("garbage", gc.collect))
    with (
        mock.patch.object(prepared, "gc", collector),
        mock.patch.object(prepared, "vary_input", timed("changing", vary_input)),
    ):
        for number in range(count):
            asked = TakeTurn(variation=Variation(signs=1 + number % 40, roll=0), budget_s=TURN_S)
            turned = one.answer(asked, [])
            assert isinstance(turned, Turned)
            parts["inside here"].append(1e3 * (turned.whole_s - turned.timed_s))
    return parts


def _through_text(message: Message) -> None:
    decode(encode(message).rstrip())


def _ms(do: Callable[[], Any]) -> float:
    began = time.perf_counter()
    do()
    return 1e3 * (time.perf_counter() - began)


def print_turns(parts: Mapping[str, Sequence[float]], count: int) -> None:
    """Part a."""
    rows = {
        "a turn besides its samples": ("besides", "0.3 at most"),
        "  in the participant": ("inside", ""),
        "    the same in this script's process": ("inside here", ""),
        "    of that, collecting garbage": ("garbage", ""),
        "    of that, changing the inputs": ("changing", ""),
        "  on the way: two messages, two wake-ups": ("message", ""),
        "    of that, text of one and its check": ("text", ""),
        "afterwards, in the parent": ("after", ""),
        "  that no thread is at work": ("quiet", ""),
        "    of that, counting threads": ("threads", ""),
        "  a CPU clock, of two": ("cpu clock", ""),
        "  resident memory": ("resident", ""),
        "from one turn to the next in all": ("both", ""),
    }
    print(f"{'milliseconds a turn':44} {'median':>8} {'10th':>8} {'90th':>8}")
    for title, (name, target) in rows.items():
        shown = " ".join(f"{percentile(parts[name], percent):8.3f}" for percent in (50, 10, 90))
        print(f"{title:44} {shown}  {target}")
    print(f"{count} turns of {1e3 * TURN_S:g} ms.\n")


def nothing(x: Tensor) -> Tensor:
    return x


def by_hand_ns(call: Callable[[Tensor], Tensor], x: Tensor, calls: int) -> float:
    """Nanoseconds a call of the bare loop."""
    began = time.perf_counter_ns()
    for _ in range(calls):
        call(x)
    return (time.perf_counter_ns() - began) / calls


def print_calls(samples: int) -> None:
    """Part b."""
    torch.set_num_threads(1)
    gc.disable()
    x = torch.zeros(1)
    sampler = CpuSampler(nothing, None)
    sampler.warm_up(x, settle=True)
    calls = sampler.calls
    timer = Timer("call(x)", globals={"call": nothing, "x": x})
    sources: dict[str, Callable[[], float]] = {
        "attnbench": lambda: 1e6 * sampler.take_turn(x, 0.0).samples_ms[0],
        "loop by hand": lambda: by_hand_ns(nothing, x, calls),
        "Timer": lambda: 1e9 * timer.timeit(calls).median,
    }
    found: dict[str, list[float]] = {name: [] for name in sources}
    for turn in range(samples):
        for name in list(sources)[:: -1 if turn % 2 else 1]:
            found[name].append(sources[name]())

    base_ns = percentile(found["loop by hand"], 10)
    print(f"{'one call that does nothing':28} {'ns':>8} {'beyond the loop by hand, ns':>28}")
    for name, times in found.items():
        print(f"{name:28} {percentile(times, 10):8.1f} {percentile(times, 10) - base_ns:28.1f}")
    print(f"{samples} samples of {calls} calls each. What is beyond the loop by hand is in every latency.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=200, help="in part a")
    parser.add_argument("--samples", type=int, default=200, help="of every kind, in part b")
    arguments = parser.parse_args()

    parts = real_turns(arguments.turns)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        parts |= pool.apply(turns_here, (arguments.turns,))
    print_turns(parts, arguments.turns)
    print_calls(arguments.samples)
    print(f"Load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")


if __name__ == "__main__":
    main()
