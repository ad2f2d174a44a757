"""How far processes differ that do the same thing, and by what: run as a script.

Three backends at the four stages of Twins-S, on one thread, in fresh starters for every round. In a round all variants
of all backends are sampled in turn, as ``attnbench run`` samples, so that the machine's moods meet them alike; what is
common to the cells of a case in a round (their median) is taken off before the standard deviation over rounds is.
Variants differ from ``steady`` in one thing each:

* ``system``: the C library's allocator as it is (``measure.allocator``).
* ``pinned``: participants stay on one core.
* ``touched``: their heap was written to before anything is prepared.
* ``huge``: the C library asks for pages of 2 MiB (glibc.malloc.hugetlb=1).
* ``unshuffled``: the system puts the parts of every process at the same addresses.
* ``long``: a sample is one loop of 10 ms, instead of the fastest of the short ones that fill as much.

``/ half the turns`` is the same without the second half of every record: how much longer sampling would narrow it.
``sampling`` is what remains of a variant's spread if processes differed in nothing: the spread of the two halves of a
record against each other, over two. On a machine that others use it is all of it: with ``--cpu-clock`` participants
read the CPU time of their thread instead of the time, so that being descheduled lengthens no sample.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import random
import re
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from attnbench.core.problem import Problem
from attnbench.core.record import Allocator, BackendChoice, Case, Measure, Record, Status
from attnbench.core.stats import percentile, process_statistic
from attnbench.run.case import CaseRun
from attnbench.run.cell_state import Setting
from attnbench.run.events import Cell
from attnbench.run.interpreter import Interpreter, this_interpreter
from attnbench.run.process_pool import Participant, ProcessPool
from attnbench.run.starter_process import Starter
from attnbench.run.starters import Starters

BACKENDS = {"naive": "Naive", "sdpa": "Sdpa", "swin": "Swin"}
STAGES = {56: 2, 28: 4, 14: 8, 7: 16}
"""Heads by map."""
VARIANTS = ("system", "steady", "pinned", "touched", "huge", "unshuffled", "long")
QUICK = ("system", "steady", "long")
MODULE = """\
import os
import torch
from attnbench.backends.{name} import {kind}
{more}
"""
# Replacing a clock is what participants are watched for.
CPU_CLOCK = """\
import time
from attnbench.worker import timing
from attnbench.worker.integrity import Integrity
Integrity.broken = lambda self: None
timing._now_ns = time.thread_time_ns
"""
MORE = {
    "pinned": "os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})",
    "long": "from attnbench.worker import timing; timing._LOOP_MS = timing._SAMPLE_MS",
    "touched": "torch.ones(2**24)",  # as large as what the heap is extended by
}
_UNSHUFFLED = 0x0040000
"""personality(2)."""
Logs = Mapping[str, Mapping[int, float]]
"""By cell of a case, and by round."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way of running participants."""

    name: str

    @property
    def starter(self) -> str:
        """Variants that differ in nothing before the fork share a starter."""
        return self.name if self.name in ("system", "huge", "unshuffled", "long") else "steady"

    def module(self, directory: Path, name: str, more: str) -> str:
        """Write a backend's module for it; its name."""
        found = f"{name}_{self.name}"
        more += MORE.get(self.name, "")
        text = MODULE.format(name=name, kind=BACKENDS[name], more=more)
        (directory / f"{found}.py").write_text(text)
        return found


class MixedStarters(Starters):
    """Starters of several kinds: an interpreter's only backend is the name of its kind."""

    @staticmethod
    def _host(interpreter: Interpreter) -> Interpreter:
        return interpreter

    def _start(self, host: Interpreter) -> Starter:
        (kind,) = host.backends
        allocator = Allocator.SYSTEM if kind == "system" else Allocator.STEADY
        with surroundings(kind):
            return Starter(interpreter=host, threads=1, allocator=allocator)


class MixedPool(ProcessPool):
    """A pool whose participants have starters of several kinds."""

    def __init__(self, measure: Measure) -> None:
        super().__init__(measure)
        self._starters = MixedStarters(measure, modules=(), abandon=lambda: False)


@contextmanager
def surroundings(kind: str) -> Iterator[None]:
    """What a process inherits that is started inside."""
    libc = ctypes.CDLL(None)
    before = libc.personality(0xFFFFFFFF)
    if kind == "huge":
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    elif kind == "unshuffled":
        libc.personality(before | _UNSHUFFLED)
    try:
        yield
    finally:
        os.environ.pop("GLIBC_TUNABLES", None)
        libc.personality(before)


def participants(directory: Path, variants: Sequence[Variant], more: str) -> list[Participant]:
    """Of every variant, every backend, with some more in its module."""
    return [
        Participant(
            choice=BackendChoice(label=f"{name}, {one.name}", name=f"{one.module(directory, name, more)}:{kind}"),
            interpreter=replace(this_interpreter(), backends=(one.starter,)),
        )
        for one in variants
        for name, kind in BACKENDS.items()
    ]


def measured(company: Sequence[Participant], rounds: int, seconds: float) -> list[Record]:
    """Every cell in every round."""
    measure = Measure(max_time_s=seconds)
    pool = MixedPool(measure)
    cases = []
    for size, heads in STAGES.items():
        problem = Problem(batch=2, height=size, width=size, window_height=7, window_width=7, heads=heads)
        cases.append(Case(name=f"{size}x{size}", problem=problem, device="cpu", threads=1))
    found = []
    try:
        pool.begin_round(company)
        introduced = {one: pool.introduce(one, "cpu") for one in company}
        setting = Setting(
            pool=pool, environment=pool.describe("cpu").environment, measure=measure, introduced=introduced,
            baseline="", turn_s=0.05, abandon=lambda: False,
        )  # fmt: skip
        for number in range(rounds):
            if number:
                pool.begin_round(company)
            for case in random.sample(cases, len(cases)):
                groups = [
                    [(Cell(case=case, backend=one.label, position=place, round=number), one)]
                    for place, one in random.sample(list(enumerate(company)), len(company))
                ]
                at_work = CaseRun(case, groups, setting, ceilings=None, ceilings_s=0.0)
                found += [said[1] for said in at_work.records() if isinstance(said, tuple)]
    finally:
        pool.close()
    return found


def turns_of(record: Record) -> list[tuple[float, ...]]:
    """Samples turn by turn."""
    found, first = [], 0
    for count in record.turns:
        found.append(record.samples_ms[first : first + count])
        first += count
    return found


def part(record: Record, half: int) -> Record:
    """The first or the second half of a record's turns."""
    turns = turns_of(record)
    middle = max(1, len(turns) // 2)
    some = turns[middle:] or turns if half else turns[:middle]
    return replace(record, samples_ms=tuple(ms for turn in some for ms in turn), turns=tuple(map(len, some)))


def ours(record: Record) -> float:
    """What ``attnbench run`` takes for a process."""
    return math.log(process_statistic(record.samples_ms, "cpu"))


def halves(record: Record) -> float:
    """By how much the halves of a record differ, over two: as much as the whole of it is off by chance."""
    return (ours(part(record, 1)) - ours(part(record, 0))) / 2


def cpu_time(record: Record) -> float:
    assert record.conditions is not None
    assert record.conditions.own_s is not None
    return math.log(record.conditions.own_s / record.calls)


def spreads(logs: Logs) -> dict[str, float]:
    """By cell, the standard deviation over rounds in percent, without what is common to a round."""
    centres = {cell: statistics.median(rounds.values()) for cell, rounds in logs.items()}
    numbers = sorted({number for rounds in logs.values() for number in rounds})
    common = {
        number: statistics.median(rounds[number] - centres[cell] for cell, rounds in logs.items() if number in rounds)
        for number in numbers
    }
    return {
        cell: 100 * statistics.stdev(log - common[number] for number, log in of.items()) for cell, of in logs.items()
    }


class Found:
    """What was measured, by case and by cell."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.cases: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
        for record in records:
            if record.status is Status.OK and record.conditions is not None:
                self.cases[record.case][record.backend].append(record)

    def spread(self, value: Callable[[Record], float]) -> dict[tuple[str, str], float]:
        """By case and cell; what was measured only once has none."""
        return {
            (case, cell): spread
            for case, cells in self.cases.items()
            for cell, spread in spreads(
                {cell: {one.round: value(one) for one in some} for cell, some in cells.items() if len(some) > 1}
            ).items()
        }

    def of(self, variant: str) -> Iterator[tuple[str, str, list[Record]]]:
        """Case, backend and records of a variant's cells."""
        for case, cells in self.cases.items():
            for name in BACKENDS:
                if some := cells.get(f"{name}, {variant}"):
                    yield case, name, some

    def faults(self, variant: str) -> float:
        """Page faults a call, in the worst cell."""
        return max(
            (
                statistics.fmean(one.conditions.page_faults or 0.0 for one in some if one.conditions)
                for _, _, some in self.of(variant)
            ),
            default=math.nan,
        )

    def slower(self, variant: str, than: str) -> float:
        """The latency of the median cell over another variant's."""
        other = {(case, name): _typical(some) for case, name, some in self.of(than)}
        mine = {(case, name): _typical(some) for case, name, some in self.of(variant)}
        return statistics.median(mine[cell] / other[cell] for cell in mine.keys() & other.keys())


def _typical(records: Sequence[Record]) -> float:
    return statistics.median(math.exp(ours(one)) for one in records)


def print_table(found: Found, variants: Sequence[str]) -> None:
    """The spread between processes, a row for every variant."""
    columns = [found.spread(value) for value in (ours, halves, cpu_time)]
    titles = ("10th percentile", "sampling", "CPU time")
    print(
        f"{'scatter of processes, %':26}" + "".join(f"{title:>16}" for title in titles) + f"{'faults':>9}{'ratio':>8}"
    )
    print(f"{'':26}" + "".join(f"{'median / worst':>16}" for _ in titles) + f"{'a call':>9}{'':>8}")
    for variant in variants:
        row = f"{variant:26}" + "".join(f"{_median_worst(column, variant):>16}" for column in columns)
        print(f"{row}{found.faults(variant):9.1f}{found.slower(variant, variants[0]):8.3f}")
        if variant == "steady":
            some = found.spread(lambda record: ours(part(record, 0)))
            print(f"{f'{variant} / half the turns':26}{_median_worst(some, variant):>16}")


def print_cells(found: Found, variants: Sequence[str]) -> None:
    """The same cell by cell: the spread and the page faults a call."""
    spread = found.spread(ours)
    print(f"\n{'%, and faults a call':14}" + "".join(f"{variant:>14}" for variant in variants))
    for case in found.cases:
        for name in BACKENDS:
            row = f"{f'{case} {name}':14}"
            for variant in variants:
                some = found.cases[case][f"{name}, {variant}"]
                faults = [one.conditions.page_faults or 0.0 for one in some if one.conditions]
                shown = f"{spread.get((case, f'{name}, {variant}'), math.nan):.1f}"
                row += f"{f'{shown} {statistics.fmean(faults or [math.nan]):6.1f}':>14}"
            print(row)


def _median_worst(spread: Mapping[tuple[str, str], float], variant: str) -> str:
    some = [percent for (_, cell), percent in spread.items() if cell.endswith(f", {variant}")]
    return f"{percentile(some, 50):.2f} / {max(some):.1f}" if some else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=10, help="of every variant and backend")
    parser.add_argument("--seconds", type=float, default=0.25, help="timed per cell and process")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), help="some of those above")
    parser.add_argument("--quick", action="store_true", help="four processes of two variants")
    parser.add_argument("--cpu-clock", action="store_true", help="CPU time in the place of time")
    parser.add_argument("--cells", action="store_true", help="show every cell, too")
    arguments = parser.parse_args()
    processes: int = 4 if arguments.quick else arguments.processes
    names: list[str] = list(QUICK) if arguments.quick else arguments.variants

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)  # where participants look for modules
        more = CPU_CLOCK if arguments.cpu_clock else ""
        company = participants(Path(directory), [Variant(name=name) for name in names], more)
        records = measured(company, processes, arguments.seconds)
    found = Found(records)
    print_table(found, names)
    if arguments.cells:
        print_cells(found, names)
    odd = Counter(" ".join(re.sub(r"[\d.]+", "N", one.reason)[:90].split()) for one in records if one.reason)
    descheduled = [one.conditions.involuntary_switches or 0 for one in records if one.conditions]
    print(
        f"{processes} processes, {arguments.seconds:g} s a cell, in {time.monotonic() - began:.0f} s; failed: "
        f"{dict(odd) or 'none'}.\nNoise: descheduled {statistics.median(descheduled):g} times a record in the median, "
        f"load {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores. Targets: 2 % in the median cell, 5 % in the worst."
    )


if __name__ == "__main__":
    main()
