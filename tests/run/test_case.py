"""One case in one round, with stand-ins: companies, orders, and what is tried once more."""

from __future__ import annotations

import itertools
import json
import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import attnbench
from attnbench.core.channel import memory_file
from attnbench.core.protocol import (
    Expect,
    Expected,
    Failed,
    Message,
    Prepare,
    Profile,
    Profiled,
    TakeTurn,
    Tensors,
    Turned,
)
from attnbench.core.record import Status
from attnbench.results.journal import read_journal
from attnbench.run.case import _orders
from attnbench.run.cell import CellRun
from tests import stand_in
from tests.conftest import Cli

SUITE = """\
name: s
device: cpu
backends: [naive, sdpa, sdpa_math, swin]
sweep: {resolution: 14, window: 7, heads: 2}
measure: {processes: 1, max_time_s: 0.2}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stand_in.use(monkeypatch)
    Path("s.yaml").write_text(SUITE)


def watched(monkeypatch: pytest.MonkeyPatch, kind: type, answer: Any) -> None:
    """Let ``answer`` see what a stand-in participant is asked for."""
    known = stand_in._Participant._answer

    def answering(self: Any, message: Message) -> Message:
        if isinstance(message, kind) and (found := answer(self._participant.label)) is not None:
            return found
        return known(self, message)

    monkeypatch.setattr(stand_in._Participant, "_answer", answering)


def test_the_cells_of_a_case_take_turns_and_groups_are_turned_round() -> None:
    from itertools import islice

    company: Any = [["a", "A"], ["b", "B"], ["c", "C"]]
    assert ["".join(map(str, order)) for order in islice(_orders(company), 4)] == [
        "aAbBcC",
        "CcAaBb",
        "bBcCaA",
        "AaBbCc",
    ]


@pytest.mark.parametrize(("threads", "pinned"), [(1, True), (2, False)])
def test_single_threads_take_their_turns_on_the_core_where_the_last_one_warmed_up(
    threads: int, pinned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, Any]] = []
    monkeypatch.setattr(stand_in._Participant, "core", lambda _: 1)
    monkeypatch.setattr(
        stand_in._Participant, "pin", lambda self, cores: seen.append((self._participant.label, set(cores)))
    )
    watched(monkeypatch, TakeTurn, lambda label: seen.append((label, "turn")))
    Path("s.yaml").write_text(SUITE.replace("processes: 1", f"processes: 1, threads: {threads}"))
    attnbench.run("s.yaml", output="out")
    names = {"naive", "sdpa", "sdpa_math", "swin"}
    turns = [number for number, (_, what) in enumerate(seen) if what == "turn"]
    before, after = seen[: turns[0]], seen[turns[-1] + 1 :]
    assert {label for label, cores in before if cores == {1}} == (names if pinned else set())
    assert {label for label, cores in after if cores == os.sched_getaffinity(0)} == (names if pinned else set())


def test_the_two_sides_of_a_pair_change_places_more_often_than_the_backends_of_a_run(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets: list[float] = []
    known = stand_in._Participant._turn

    def turn(self: Any, budget_s: float) -> Any:
        budgets.append(budget_s)
        return known(self, budget_s)

    monkeypatch.setattr(stand_in._Participant, "_turn", turn)
    attnbench.run("s.yaml", output="out")
    longest = max(budgets)
    budgets.clear()
    cli("noise", "s.yaml", "--pairs", "5", "--output", "pairs", check=0)
    assert 0 < max(budgets) <= longest / 2


def test_what_does_not_fit_together_is_sampled_in_smaller_companies_with_the_baseline_in_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns: list[str] = []
    watched(monkeypatch, TakeTurn, turns.append)
    watched(monkeypatch, Profile, lambda _: Profiled(peak_bytes=2**29, held_bytes=2**29, kernel=""))
    known = stand_in._Judge.answer

    def little(self: Any, message: Message) -> tuple[Message, list[int]]:
        if isinstance(message, Expect):
            return Expected(inputs=Tensors(), rolls=1, free_bytes=2**31 + 2**29), [memory_file()]
        return known(self, message)

    monkeypatch.setattr(stand_in._Judge, "answer", little)
    frame = attnbench.run("s.yaml", output="out")
    assert set(frame["status"]) == {"ok"}
    samples = {one.backend: len(one.samples_ms) for one in read_journal(Path("out"))}
    assert samples["naive"] >= 2 * min(samples.values()), "the baseline was sampled in every company"
    assert turns.count("naive") > turns.count("sdpa")


def test_what_runs_out_of_memory_beside_others_is_tried_once_more_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def short(label: str) -> Failed | None:
        asked.append(label)
        first = label == "sdpa" and asked.count("sdpa") == 1
        return Failed(status=Status.OOM, reason="no memory") if first or label == "swin" else None

    watched(monkeypatch, Prepare, short)
    frame = attnbench.run("s.yaml", output="out").set_index("backend")
    assert dict(frame["status"]) == {"naive": "ok", "sdpa": "ok", "sdpa_math": "ok", "swin": "oom"}
    assert (asked.count("sdpa"), asked.count("swin"), asked.count("naive")) == (2, 2, 1)


def test_a_failure_that_is_none_ends_the_cell_as_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    watched(monkeypatch, Prepare, lambda label: Failed(status=Status.OK, reason="") if label == "sdpa" else None)
    frame = attnbench.run("s.yaml", output="out").set_index("backend")
    assert frame["status"]["sdpa"] == "crashed"
    assert frame["reason"]["sdpa"] == "in stage prepare, it answered Failed"


def test_every_record_says_how_its_samples_lie_in_turns() -> None:
    attnbench.run("s.yaml", output="out")
    for line in Path("out/journal.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert sum(record["turns"]) == len(record["samples_ms"])
        assert len(record["samples_ms"]) >= 20


@pytest.mark.parametrize(("threads", "status"), [(1, Status.WRONG_RESULT), (2, Status.OK)])
def test_what_threads_of_a_runtime_spin_after_a_turn_counts_only_where_there_should_be_none(
    threads: int, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spins(cell: CellRun) -> None:
        stand_in_process: Any = cell._pool.process(cell.work.participant)
        stand_in_process._cpu_s += 0.3

    monkeypatch.setattr(CellRun, "_wait_until_quiet", spins)
    Path("s.yaml").write_text(SUITE.replace("processes: 1", f"processes: 1, threads: {threads}"))
    attnbench.run("s.yaml", output="out")
    assert {record.status for record in read_journal(Path("out"))} == {status}


def test_a_first_call_is_looked_at_in_the_first_round_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[bool] = []
    known = stand_in._Participant._answer

    def answering(self: Any, message: Message) -> Message:
        if isinstance(message, Prepare):
            looked_at.append(message.is_checked)
        return known(self, message)

    monkeypatch.setattr(stand_in._Participant, "_answer", answering)
    Path("s.yaml").write_text(SUITE.replace("processes: 1", "processes: 3"))
    attnbench.run("s.yaml", output="out")
    assert looked_at == [True] * 4 + [False] * 8


@pytest.mark.parametrize(("fresh", "status"), [(2.0, Status.OK), (5.0, Status.WRONG_RESULT)])
def test_a_turn_in_which_all_was_slow_is_no_excuse_for_a_kernel_that_remembers(
    fresh: float, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = stand_in._Participant._answer
    turns: dict[str, itertools.count[int]] = defaultdict(itertools.count)

    def answering(self: Any, message: Message) -> Message:
        if not isinstance(message, TakeTurn):
            return known(self, message)
        self._pretended["slower"] = {
            self._cell.case.name: 10.0 if next(turns[self._participant.label]) % 4 == 1 else 1.0
        }
        found = known(self, message)
        assert isinstance(found, Turned)
        return replace(found, fresh_ms=fresh * (1 + self._cell.position) if message.afterwards else None)

    monkeypatch.setattr(stand_in._Participant, "_answer", answering)
    Path("s.yaml").write_text(SUITE.replace("max_time_s: 0.2", "max_time_s: 8"))
    attnbench.run("s.yaml", output="out")
    assert {record.status for record in read_journal(Path("out"))} == {status}
