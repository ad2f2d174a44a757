"""Nightly runs against their history: speed-ups, slow nights that were saved, accepted changes, other processors."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from attnbench.comparison.definitions import CellVerdict, Comparison, Verdict
from attnbench.comparison.limits import Limits
from attnbench.comparison.runs import compare
from attnbench.comparison.selection import gather
from attnbench.core.errors import NotComparableError, StoredRunError, UsageError
from attnbench.results.accepted import Accepted, changes, read_accepted
from attnbench.results.store import StoredRun, read_run
from tests.comparison.test_runs import store
from tests.conftest import Cli
from tests.samples import record

CASES = ("wide", "narrow", "global")


def night(
    tmp_path: Path, number: int, *, speed: float = 1.0, sdpa_speed: float = 1.0, noise: float = 0.01, **levels: float
) -> Path:
    """A run of two backends; ``levels`` are milliseconds of sdpa by case, others take 2 ms."""
    scattered = random.Random(number)
    records = []
    for case in CASES:
        drift = scattered.gauss(0, noise)
        for process in range(3):
            off = 1 + drift + scattered.gauss(0, noise / 2)
            common = {"round": process}
            records.append(record("naive", case, latency_ms=4.0 * off / speed, **common))
            latency_ms = levels.get(case, 2.0) * (1 + scattered.gauss(0, noise)) / speed / sdpa_speed
            records.append(record("sdpa", case, latency_ms=latency_ms, **common))
    ordered = sorted(records, key=lambda one: (one.round, CASES.index(one.case), one.backend))
    positions = {
        (case, name): 2 * CASES.index(case) + index for case in CASES for index, name in enumerate(("naive", "sdpa"))
    }
    return store(tmp_path / f"night {number:03}", ordered, positions=positions, speed=speed,
                 started_at=f"2026-{1 + number // 28:02}-{1 + number % 28:02}T00:00:00+00:00")  # fmt: skip


read_once = functools.cache(read_run)
"""Nothing changes a night that was judged; a history is judged many times."""


def judged(paths: Sequence[Path], now: Path, **options: Any) -> Comparison:
    return compare([read_once(path) for path in paths], read_once(now), **options)


def of(found: Comparison, case: str, backend: str = "sdpa") -> CellVerdict:
    return next(cell for cell in found.cells if (cell.case, cell.backend) == (case, backend))


def test_after_a_speed_up_a_slowdown_is_judged_against_the_new_level(tmp_path: Path) -> None:
    old = [night(tmp_path, number) for number in range(8)]
    new = [night(tmp_path, number, wide=1.6) for number in range(8, 18)]
    found = judged([*old, *new], night(tmp_path, 18, wide=2.08))
    assert of(found, "wide").verdict is Verdict.REGRESSED
    ratio = of(found, "wide").ratio
    assert ratio is not None
    assert ratio.value == pytest.approx(1.30, rel=0.02)
    assert of(found, "wide").base_ms == pytest.approx(1.6, rel=0.02)
    assert of(found, "wide").reason == "level since 2026-01-09"
    assert of(found, "narrow").verdict is Verdict.STABLE


def test_the_verdict_is_that_of_a_history_that_began_at_the_last_change(tmp_path: Path) -> None:
    runs = [
        *(night(tmp_path, number, wide=3.0) for number in range(5)),
        *(night(tmp_path, number, wide=1.2) for number in range(5, 12)),
        *(night(tmp_path, number, wide=1.6) for number in range(12, 20)),
    ]
    for number, ms in ((20, 1.6), (21, 1.76), (22, 1.3), (23, 1.65)):
        now = night(tmp_path, number, wide=ms)
        whole, short = (of(judged(history, now), "wide") for history in (runs, runs[12:]))
        assert whole.verdict.fails is short.verdict.fails is (ms > 1.7)
        assert whole.ratio is not None
        assert short.ratio is not None
        assert whole.ratio.value == pytest.approx(short.ratio.value)


@pytest.mark.parametrize("slow", [[8], [8, 9], [4, 8]])
def test_slow_nights_that_were_saved_never_blind(tmp_path: Path, slow: list[int]) -> None:
    runs = [night(tmp_path, number, wide=2.6 if number in slow else 2.0) for number in range(12)]
    found = judged(runs, night(tmp_path, 12, wide=2.3))
    assert of(found, "wide").verdict is Verdict.REGRESSED
    assert of(judged(runs, night(tmp_path, 13)), "wide").verdict is Verdict.STABLE


@pytest.mark.slow
def test_a_hundred_nights_with_three_speed_ups_are_green_and_a_slowdown_among_them_is_red(tmp_path: Path) -> None:
    levels = [2.0] * 25 + [1.7] * 25 + [1.5] * 25 + [1.2] * 25
    runs: list[StoredRun] = []
    for number, ms in enumerate(levels):
        now = read_run(night(tmp_path, number, wide=ms))
        if runs:
            assert not compare(runs[-30:], now).failed, number
        runs.append(now)
    assert of(compare(runs[-30:], read_run(night(tmp_path, 100, wide=1.32))), "wide").verdict is Verdict.REGRESSED


def test_an_accepted_change_begins_the_cells_history_anew_and_leaves_the_others(tmp_path: Path) -> None:
    runs = [night(tmp_path, number) for number in range(8)]
    slower = night(tmp_path, 8, wide=2.4)
    assert of(judged(runs, slower), "wide").verdict is Verdict.REGRESSED
    accepted = changes(read_run(slower), ["wide/sdpa"], why="exact softmax")
    assert accepted == [Accepted(case="wide", backend="sdpa", since="2026-01-09T00:00:00+00:00", why="exact softmax")]
    found = judged(runs, slower, accepted=accepted)
    assert not found.failed
    assert of(found, "wide").reason == "accepted since 2026-01-09: exact softmax"
    assert "Accepted for wide/sdpa since 2026-01-09: exact softmax" in found.notes
    later = [*runs, slower, *(night(tmp_path, number, wide=2.4) for number in range(9, 15))]
    assert of(judged(later, night(tmp_path, 15, wide=2.4), accepted=accepted), "wide").verdict is Verdict.STABLE
    both = judged(later, night(tmp_path, 16, wide=2.8, narrow=2.4), accepted=accepted)
    assert of(both, "wide").verdict is of(both, "narrow").verdict is Verdict.REGRESSED
    assert of(both, "wide").ratio.value == pytest.approx(2.8 / 2.4, rel=0.03)  # type: ignore[union-attr]


def test_changes_are_accepted_on_the_command_line_in_a_file_for_git(cli: Cli, tmp_path: Path) -> None:
    for number in range(8):
        cli("baseline", "save", str(night(tmp_path, number)), check=0)
    slower = str(night(tmp_path, 8, wide=2.4, narrow=2.4))
    cli("baseline", "check", slower, check=1)
    said = cli("baseline", "accept", slower, "--cell", "wide/sdpa", "--why", "exact\nsoftmax", check=0)
    assert said.stdout == "baselines/main/accepted.json\n"
    found = cli("baseline", "check", slower, check=1)
    assert "Accepted for wide/sdpa since 2026-01-09: exact softmax" in " ".join(found.stdout.split())
    cli("baseline", "accept", slower, "--cell", "narrow", "--why", "the same", check=0)
    kept = read_accepted(tmp_path / "baselines" / "main").changes
    assert [(one.case, one.backend, one.why) for one in kept] == [
        ("narrow", "naive", "the same"), ("narrow", "sdpa", "the same"), ("wide", "sdpa", "exact softmax"),
    ]  # fmt: skip
    cli("baseline", "check", slower, check=0)
    assert cli("baseline", "list", check=0).stdout.count("main") == 1
    wrong = cli("baseline", "accept", slower, "--cell", "wide/sdp", "--why", "x", check=2).stderr
    assert wrong.startswith(f"attnbench: --cell wide/sdp: not in {slower} (allowed: CASE or CASE/BACKEND, such as wide")
    assert "--why: say why" in cli("baseline", "accept", slower, "--cell", "wide", "--why", " ", check=2).stderr
    missing = cli("baseline", "accept", slower, "--cell", "wide", "--why", "x", "--name", "other", check=4).stderr
    assert "there is no baseline other" in missing
    (tmp_path / "baselines" / "main" / "accepted.json").write_text("{")
    assert "accepted.json" in cli("baseline", "check", slower, check=2).stderr


def test_runs_of_other_processors_count_where_latencies_are_relative(tmp_path: Path, cli: Cli) -> None:
    speeds = (1.0, 1.4, 0.8)
    names = ("EPYC", "Xeon", "Ampere")
    for number in range(9):
        path = night(tmp_path, number, speed=speeds[number % 3])
        _rename_processor(path, names[number % 3])
    now = night(tmp_path, 9, speed=1.4, narrow=2.4)
    _rename_processor(now, "Turin")
    history = [tmp_path / f"night {number:03}" for number in range(9)]
    with pytest.raises(NotComparableError, match="cpu_name EPYC -> Turin"):
        judged(history, now)
    found = judged(history, now, relative=True)
    assert of(found, "narrow").verdict is Verdict.REGRESSED
    assert of(found, "wide").verdict is Verdict.STABLE
    assert (of(found, "wide", "naive").verdict, of(found, "wide", "naive").reason) == (
        Verdict.STABLE, "the others are divided by it",
    )  # fmt: skip
    assert "each divided by the baseline backend of the same run" in found.method
    assert len(gather([tmp_path], read_run(now), relative=True).runs) == 9
    for path in history:
        cli("baseline", "save", path.name, check=0)
    assert "cpu_name" in cli("baseline", "check", now.name, check=4).stderr
    assert "1 regressed" in cli("baseline", "check", now.name, "--relative", check=1).stdout


def _rename_processor(path: Path, name: str) -> None:
    file = path / "environment.json"
    file.write_text(file.read_text().replace('"cpu_name": "Test CPU"', f'"cpu_name": "{name}"'))


def test_a_limit_of_a_cell_holds_for_it_alone(tmp_path: Path) -> None:
    runs = [night(tmp_path, number) for number in range(8)]
    now = night(tmp_path, 8, wide=2.4, narrow=2.4)
    found = judged(runs, now, limits=Limits(own={"wide": 0.5}))
    assert not of(found, "wide").verdict.fails
    assert of(found, "narrow").verdict is Verdict.REGRESSED
    found = judged(runs, now, limits=Limits(flaky=("wide", "narrow/sdpa")))
    assert not found.failed
    with pytest.raises(UsageError, match="--flaky: there is no case or cell 'tall'"):
        judged(runs, now, limits=Limits(flaky=("tall",)))


@pytest.mark.parametrize("since", ["tomorrow", "", "9999-12-31T23:59:59-05:00"])
def test_a_change_that_was_accepted_at_no_time_is_a_damaged_file(tmp_path: Path, since: str) -> None:
    given = {"schema_version": 1, "changes": [{"case": "wide", "backend": "sdpa", "since": since, "why": "x"}]}
    (tmp_path / "accepted.json").write_text(json.dumps(given))
    with pytest.raises(StoredRunError, match=r"since: .* is not a time"):
        read_accepted(tmp_path)


def test_a_change_is_accepted_from_its_moment_on_however_that_is_spelled(tmp_path: Path) -> None:
    runs = [night(tmp_path, number) for number in range(8)]
    slower = night(tmp_path, 8, wide=2.4)
    for since, verdict in (
        ("2026-01-09T00:00:00Z", Verdict.ADDED),
        ("2026-01-09T02:00:00+02:00", Verdict.ADDED),
        ("9999-12-31", Verdict.REGRESSED),
    ):
        accepted = [Accepted(case="wide", backend="sdpa", since=since, why="x")]
        assert of(judged(runs, slower, accepted=accepted), "wide").verdict is verdict, since
    table = read_run(slower).table
    everything = [
        Accepted(case=case, backend=backend, since="2026-01-09", why="x")
        for case, backend in zip(table["case"], table["backend"], strict=True)
    ]
    assert judged(runs, slower, accepted=everything).not_compared_reason == ""
