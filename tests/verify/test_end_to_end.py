"""Faults of the whole way from a suite to a verdict, injected one by one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from attnbench.comparison.definitions import Verdict
from attnbench.core.stats import Estimate
from attnbench.core.verification import Answer, Figure
from attnbench.run.outputs import Outputs
from attnbench.verify import end_to_end

SLOW_CLOCK = """
import time
_right = time.perf_counter_ns
time.perf_counter_ns = lambda: round(0.9 * _right())
"""


def measured(directory: Path) -> dict[str, Figure]:
    return {figure.check: figure for figure in end_to_end.known_time_and_faults("cpu", directory)}


@pytest.mark.slow
def test_an_honest_harness_passes(tmp_path: Path) -> None:
    found = measured(tmp_path)
    assert {name: figure.answer for name, figure in found.items()} == {
        "known time": Answer.PASS, "faults": Answer.PASS, "leftovers": Answer.PASS,
    }, found  # fmt: skip


@pytest.mark.slow
def test_a_participants_clock_that_is_off_by_a_tenth_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(SLOW_CLOCK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    assert measured(tmp_path)["known time"].answer is Answer.FAIL


@pytest.mark.slow
def test_a_harness_that_checks_no_timed_result_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from attnbench.core.protocol import Verdict as Checked

    monkeypatch.setattr(Outputs, "verify", lambda *_, **__: Checked(max_error=0.0, reason=""))
    found = measured(tmp_path)["faults"]
    assert found.answer is Answer.FAIL
    assert "IsWrong ended as ok, not wrong_result" in found.broken


def test_a_process_that_outlives_its_run_is_found_and_ended() -> None:
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", end_to_end.LEFT_BEHIND])
    try:
        found = end_to_end._left_behind()
        assert [process.pid for process in found] == [left.pid]
    finally:
        left.kill()
        left.wait()


@pytest.mark.parametrize(("check", "verdict", "ratio", "answer"), [
    ("slowdown", Verdict.REGRESSED, 1.05, Answer.PASS),
    ("slowdown", Verdict.INCONCLUSIVE, 1.05, Answer.FAIL),
    ("slowdown", Verdict.STABLE, 1.0, Answer.FAIL),
    ("slowdown", Verdict.REGRESSED, 1.25, Answer.FAIL),
    ("a/a", Verdict.STABLE, 1.0, Answer.PASS),
    ("a/a", Verdict.INCONCLUSIVE, 1.0, Answer.PASS),
    ("a/a", Verdict.REGRESSED, 1.05, Answer.FAIL),
    ("a/a", Verdict.IMPROVED, 0.95, Answer.FAIL),
])  # fmt: skip
def test_a_gate_that_is_blind_or_raises_false_alarms_is_found(
    check: str, verdict: Verdict, ratio: float, answer: Answer
) -> None:
    cell = SimpleNamespace(verdict=verdict, ratio=Estimate(value=ratio, low=ratio - 0.01, high=ratio + 0.01))
    assert end_to_end.ratio_figure(check, cast("Any", cell)).answer is answer


@pytest.mark.live
def test_an_ab_sees_five_percent_and_nothing_where_nothing_is(tmp_path: Path) -> None:
    found = list(end_to_end.pairs("cpu", tmp_path))
    assert [(figure.check, figure.answer) for figure in found] == [
        ("slowdown", Answer.PASS), ("a/a", Answer.PASS),
    ], found  # fmt: skip
