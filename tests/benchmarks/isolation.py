"""What it costs that every backend has a process of its own: run as a script.

a. Participants that sleep beside the one at work: its latency with ten others that have prepared the same case and
   taken a turn, over the same process's alone just before and just after. They are made and ended again and again
   beside the same one. The CPU time a call, which being descheduled does not lengthen, stands beside the latency, and
   so does what those who sleep take meanwhile.
b. A participant from ``Fork`` to ``Introduced`` and to the outcome of its first call, with inputs that are there, and
   the memory it does not share, before it is given inputs and after the first call.
c. Another one in place of one that was killed, until it has prepared the same case, beside a fresh interpreter that
   imports torch for that, in turn.

Medians with intervals of at least 95 % by order statistics. What a turn costs is in ``overhead.py``.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from scipy import stats

from attnbench.core.channel import memory_file
from attnbench.core.problem import Problem
from attnbench.core.protocol import Expect, Expected, Outcome, Prepare
from attnbench.core.record import BackendChoice, Case, Measure
from attnbench.core.stats import percentile, process_statistic
from attnbench.run.cell import CellRun
from attnbench.run.cell_state import Setting
from attnbench.run.events import Cell
from attnbench.run.interpreter import this_interpreter
from attnbench.run.participant_process import ParticipantProcess
from attnbench.run.process_pool import Participant, ProcessPool

BACKENDS = ("naive", "sdpa", "swin")
SLEEPING = 10
TURNS = 8
"""Of the one at work, in a row: no more than the time in which a machine's mood changes."""
PROBLEM = Problem(batch=2, height=14, width=14, window_height=7, window_width=7, heads=8)


class Company:
    """Participants of one case that can be prepared, given turns and ended one by one."""

    def __init__(self, pool: ProcessPool, measure: Measure) -> None:
        self.pool = pool
        self.case = Case(name="case", problem=PROBLEM, device="cpu", threads=measure.threads)
        names = (BACKENDS * SLEEPING)[: SLEEPING + 1]
        choices = [BackendChoice(label=f"{name} {index}", name=name) for index, name in enumerate(names)]
        self.participants = [Participant(choice=choice, interpreter=this_interpreter()) for choice in choices]
        self.setting = Setting(
            pool=pool, environment=pool.describe("cpu").environment, measure=measure, baseline="",
            introduced={one: pool.introduce(one, "cpu") for one in self.participants},
            turn_s=0.05, abandon=lambda: False,
        )  # fmt: skip
        for one in self.participants:
            pool.end(one)

    def cell(self, index: int) -> tuple[Cell, Participant]:
        """A participant's cell."""
        one = self.participants[index]
        return Cell(case=self.case, backend=one.label, position=index, round=0), one

    def prepared(self, index: int) -> CellRun:
        """One that can be sampled; only the first time is it checked in full."""
        run = CellRun(*self.cell(index), self.setting, ceilings=None)
        run.prepare(settle=False)
        assert run.work.known is not None
        self.setting.known[self.case.name, run.work.participant] = run.work.known
        return run

    def turns(self, run: CellRun, count: int = TURNS) -> tuple[float, float]:
        """Milliseconds a call in some turns in a row, and of CPU time a call."""
        work = run.work
        before, cpu_s, work.spent_s = len(work.turns), work.cpu_s, 0.0
        for _ in range(count):
            run.take_turn()
        samples = [sample for turn in work.turns[before:] for sample in turn.samples_ms]
        cpu_ms = 1e3 * (work.cpu_s - cpu_s) / sum(turn.calls for turn in work.turns[before:])
        return process_statistic(samples, "cpu"), cpu_ms

    def cpu_s(self, runs: Sequence[CellRun]) -> float:
        """CPU time that some have taken so far."""
        return sum(self.pool.process(run.work.participant).cpu_s() for run in runs)

    def end(self, run: CellRun) -> None:
        """Let one give back its memory, and end it."""
        run.release()
        self.pool.end(run.work.participant)


def line(title: str, values: Sequence[float], unit: str, target: str = "") -> None:
    """A median with its interval."""
    ordered, rank = sorted(values), max(1, int(stats.binom.ppf(0.025, len(values), 0.5)))
    interval = f"{ordered[rank - 1]:.4g} to {ordered[-rank]:.4g}"
    print(f"{title:52} {percentile(values, 50):8.4g} {interval:>18} {unit:4} {target}")


def sleeping(threads: int, repeats: int) -> None:
    """Part a."""
    measure = Measure(threads=threads)
    with closing(ProcessPool(measure)) as pool:
        company = Company(pool, measure)
        active = company.prepared(1)
        company.turns(active)
        alone, beside, taken = [company.turns(active)], list[tuple[float, float]](), list[float]()
        for _ in range(repeats):
            others = [company.prepared(index) for index in range(SLEEPING + 1) if index != 1]
            for other in others:
                company.turns(other, 1)
            began_s, cpu_s = time.monotonic(), company.cpu_s(others)
            beside.append(company.turns(active))
            taken.append(100 * (company.cpu_s(others) - cpu_s) / (time.monotonic() - began_s))
            for other in others:
                company.end(other)
            alone.append(company.turns(active))
    around = list(zip(beside, alone, alone[1:], strict=False))
    print(f"{threads} thread{'s' * (threads > 1)}, {repeats} repeats")
    for which, title, target in ((0, "latency", "1.01 at most" * (threads == 1)), (1, "CPU time a call", "")):
        ratios = [one[which] / (before[which] * after[which]) ** 0.5 for one, before, after in around]
        line(f"  {title}, beside {SLEEPING} that sleep / alone", ratios, "x", target)
        line("    alone / alone before that", [after[which] / before[which] for _, before, after in around], "x", "A/A")
    line("  CPU time that those who sleep take meanwhile", taken, "%", "of a core")


def starting(repeats: int) -> None:
    """Parts b and c."""
    found: dict[str, list[float]] = defaultdict(list)
    with closing(ProcessPool(Measure())) as pool:
        company = Company(pool, Measure())
        expected, (inputs,) = pool.judge.ask(Expect(problem=PROBLEM), timeout_s=60)
        assert isinstance(expected, Expected)

        def first_call(process: ParticipantProcess) -> None:
            """Prepare the case."""
            outputs = memory_file()
            asked = Prepare(problem=PROBLEM, launch=Measure().launch, inputs=expected.inputs)
            reply, _ = process.ask(asked, timeout_s=60, descriptors=(inputs, outputs))
            os.close(outputs)
            assert isinstance(reply, Outcome), reply

        def start(of: ProcessPool, one: Participant, prefix: str) -> None:
            """A process and its first call."""
            began = time.perf_counter()
            of.introduce(one, "cpu")
            found[f"{prefix}introduced"].append(_ms_since(began))
            if not prefix:
                note_memory(of.process(one).pid, "")
            began_again, so_far = time.perf_counter(), found[f"{prefix}introduced"][-1]
            first_call(of.process(one))
            found[f"{prefix}called"].append(so_far + _ms_since(began_again))

        def note_memory(pid: int, suffix: str) -> None:
            for name, mib in own_mib(pid).items():
                found[f"{name}{suffix}"].append(mib)

        for index in range(repeats * len(BACKENDS)):
            one = company.participants[index % len(BACKENDS)]
            pool.end(one)
            start(pool, one, "")
            note_memory(pool.process(one).pid, " after")
            os.kill(pool.process(one).pid, signal.SIGKILL)
            start(pool, one, "again ")
            if index < repeats:
                with closing(ProcessPool(Measure())) as other:
                    start(other, one, "fresh ")
        os.close(inputs)
    print(f"a participant, {repeats * len(BACKENDS)} times; a fresh interpreter, {repeats} times")
    rows: Sequence[tuple[str, str, str, str]] = (
        ("  Fork to Introduced", "introduced", "ms", "150 at most"),
        ("  Fork to the outcome of the first call", "called", "ms", ""),
        ("  memory of its own before inputs (private, dirty)", "Private_Dirty", "MiB", "60 at most"),
        ("  the same with its part of what is shared (Pss)", "Pss", "MiB", ""),
        ("  memory of its own after the first call", "Private_Dirty after", "MiB", ""),
        ("  killed, to Introduced again", "again introduced", "ms", ""),
        ("  killed, to having prepared the case again", "again called", "ms", "300 at most"),
        ("  fresh interpreter, to Introduced", "fresh introduced", "ms", ""),
        ("  fresh interpreter, to having prepared the case", "fresh called", "ms", ""),
    )
    for title, name, unit, target in rows:
        line(title, found[name], unit, target)


def own_mib(pid: int) -> dict[str, float]:
    """Memory of a process by kind."""
    rows = (row.split() for row in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return {row[0].rstrip(":"): int(row[1]) / 1024 for row in rows}


def _ms_since(began: float) -> float:
    return 1e3 * (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--part", choices=("a", "b"), help="one part instead of all; b is b and c")
    arguments = parser.parse_args()
    parts: dict[str, list[Callable[[], None]]] = {
        "a": [lambda: sleeping(1, arguments.repeats), lambda: sleeping(2, arguments.repeats)],
        "b": [lambda: starting(arguments.repeats)],
    }
    print(f"{'':52} {'median':>8} {'95 % interval':>18}")
    for name, some in parts.items():
        if arguments.part in (None, name):
            for run in some:
                run()
    print(f"Load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; A/A is what the machine alone makes differ.")


if __name__ == "__main__":
    main()
