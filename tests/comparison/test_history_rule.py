"""The rules for stored runs on seeded synthetic tables: how often they are wrong, and what never changes its mind."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnbench.comparison.definitions import Verdict
from attnbench.comparison.history_rule import judge_history, judge_single
from tests.benchmarks.false_alarms import ours_beside_history, recorded

CELLS = 24


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(3)
    covered = []
    for _ in range(200):
        spreads = 0.02 * np.sqrt(6 / generator.chisquare(6, CELLS))
        runs = spreads * generator.normal(size=(9, CELLS))
        judged = judge_history(
            {cell: runs[:8, cell].tolist() for cell in range(CELLS)},
            {cell: [float(runs[8, cell])] for cell in range(CELLS)},
        )
        covered += [one.ratio.holds(1.0) for one in judged.values()]
    assert 0.93 <= sum(covered) / len(covered) <= 0.97


def test_in_300_tables_of_recorded_processes_nothing_is_called_and_ten_percent_is_seen() -> None:
    _, _, anchored = recorded()
    tables = 300
    nights = ours_beside_history(anchored, tables, np.random.default_rng(0), processes=3)
    assert nights.false == 0
    assert nights.seen[1.10] >= 0.95 * tables


def test_of_a_history_of_single_processes_nothing_is_called_and_more_would_be_wrong() -> None:
    _, _, anchored = recorded()
    assert ours_beside_history(anchored, 100, np.random.default_rng(0), processes=1).false == 0
    assert ours_beside_history(anchored, 300, np.random.default_rng(0), processes=1, confirmed=False).false > 3


values = st.lists(st.floats(-0.2, 0.2), min_size=5, max_size=5)
tables = st.lists(values, min_size=2, max_size=8).filter(lambda found: all(np.var(one) > 1e-9 for one in found))


@settings(deadline=None)
@given(tables, st.floats(0, 0.3))
def test_a_larger_slowdown_is_never_less_of_a_regression(found: list[list[float]], more: float) -> None:
    base = {cell: [*logs, 0.0] for cell, logs in enumerate(found)}
    now = {cell: [0.1, 0.09, 0.11] for cell in base}
    before = judge_history(base, now)[0]
    after = judge_history(base, {**now, 0: [one + more for one in now[0]]})[0]
    if before.verdict is Verdict.REGRESSED:
        assert after.verdict is Verdict.REGRESSED


@settings(deadline=None)
@given(tables, st.floats(-3, 3))
def test_a_history_on_another_scale_says_the_same(found: list[list[float]], scale: float) -> None:
    base = {cell: [*logs, 0.0] for cell, logs in enumerate(found)}
    now = {cell: [0.02 * cell] * 3 for cell in base}
    plain = judge_history(base, now)
    scaled = judge_history(
        {cell: [one + scale for one in logs] for cell, logs in base.items()},
        {cell: [one + scale for one in logs] for cell, logs in now.items()},
    )
    for cell, judgment in plain.items():
        assert scaled[cell].ratio.value == pytest.approx(judgment.ratio.value)


def test_nothing_is_confirmed_beside_a_single_base() -> None:
    judged = judge_single({"slow": math.log(1.5), "near": math.log(1.09)})
    assert (judged["slow"].verdict, judged["near"].verdict) == (Verdict.SUSPECT, Verdict.INCONCLUSIVE)
    assert judged["slow"].ratio.low is None


def test_beside_a_single_base_an_a_a_measurement_tells_what_is_calm_and_what_is_suspect() -> None:
    spreads = dict.fromkeys(("slow", "fast", "same"), (0.005, 30.0)) | {"wild": (0.1, 30.0)}
    ratios = {"slow": 0.08, "fast": -0.08, "same": 0.001, "wild": 0.08, "unknown": 0.08}
    judged = judge_single(ratios, spreads=spreads)
    assert {cell: judgment.verdict for cell, judgment in judged.items()} == {
        "slow": Verdict.SUSPECT,
        "fast": Verdict.INCONCLUSIVE,
        "same": Verdict.STABLE,
        "wild": Verdict.INCONCLUSIVE,
        "unknown": Verdict.INCONCLUSIVE,
    }
    assert {judgment.min_detectable_ratio for judgment in judged.values()} == {None}, (
        "what is never confirmed cannot be seen"
    )


def _past(spread: float = 0.01) -> dict[int, list[float]]:
    return dict(enumerate((spread * np.random.default_rng(0).normal(size=(CELLS, 8))).tolist()))


def test_a_history_confirms_what_every_process_of_the_candidate_shows_and_nothing_else() -> None:
    calm = {cell: [0.0, 0.0, 0.0] for cell in range(CELLS)}
    slow = {
        "three processes": ([0.2, 0.19, 0.21], Verdict.REGRESSED),
        "two processes": ([0.2, 0.2], Verdict.SUSPECT),
        "one that is not slow": ([0.3, 0.3, 0.01], Verdict.SUSPECT),
        "faster": ([-0.2, -0.19, -0.21], Verdict.IMPROVED),
        "one that is not faster": ([-0.3, -0.3, -0.01], Verdict.INCONCLUSIVE),
    }
    for name, (processes, verdict) in slow.items():
        judged = judge_history(_past(), {**calm, 0: processes})
        assert judged[0].verdict is verdict, name
        assert (judged[0].min_detectable_ratio is None) == (len(processes) < 3), name


def test_what_could_have_been_seen_grows_with_the_scatter() -> None:
    noise = np.random.default_rng(0).normal(size=(CELLS, 8))
    in_history = []
    for spread in (0.001, 0.02, 0.1):
        logs = {cell: (spread * noise[cell]).tolist() for cell in range(CELLS)}
        judged = judge_history(logs, {cell: [0.0, 0.0, 0.0] for cell in logs})
        in_history.append(float(np.median([judgment.min_detectable_ratio or 0 for judgment in judged.values()])))
    assert in_history == sorted(in_history)
    assert in_history[0] == pytest.approx(1.05)
