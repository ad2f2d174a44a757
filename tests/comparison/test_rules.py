"""The rule on seeded synthetic tables: how often it is wrong, and what never changes its mind."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from attnbench.comparison.rules import (
    CONFIRM_PAIRS,
    SCREEN_PAIRS,
    Judgment,
    detectable_in_pairs,
    judge_history,
    judge_pairs,
    judge_single,
    screen,
)
from attnbench.comparison.verdict import Verdict
from tests.benchmarks.false_alarms import ours_beside_history, ours_in_pairs, recorded

CELLS = 24
CHANGED = (Verdict.REGRESSED, Verdict.IMPROVED)
OPPOSITE = {Verdict.REGRESSED: Verdict.IMPROVED, Verdict.IMPROVED: Verdict.REGRESSED}


def table(seed: int, *, slower: float = 1.0, spread: float = 0.017, cells: int = CELLS) -> dict[int, Judgment]:
    """A whole A/B of cells whose processes scatter as unequally as real ones; the first is slower."""
    generator = np.random.default_rng(seed)
    spreads = spread * np.sqrt(6 / generator.chisquare(6, cells)) * math.sqrt(2)
    shift = np.zeros(cells)
    shift[0] = math.log(slower)
    first = shift + spreads * generator.normal(size=(SCREEN_PAIRS, cells))
    second = shift + spreads * generator.normal(size=(CONFIRM_PAIRS, cells))
    pairs = {cell: first[:, cell].tolist() for cell in range(cells)}
    suspects = screen(pairs)
    return judge_pairs(pairs, {cell: second[:, cell].tolist() for cell in range(cells) if cell in suspects})


@pytest.mark.parametrize(("cells", "spread"), [(1, 0.017), (2, 0.2), (CELLS, 0.017)])
def test_a_table_where_nothing_changed_raises_a_false_alarm_in_one_of_a_hundred_at_most(
    cells: int, spread: float
) -> None:
    tables = 2000
    found = (table(seed, cells=cells, spread=spread) for seed in range(tables))
    false = sum(any(one.verdict in CHANGED for one in judged.values()) for judged in found)
    assert binomtest(false, tables).proportion_ci(0.95).high <= 0.01


def test_five_percent_is_seen_and_one_is_not() -> None:
    found = [table(seed, slower=1.05)[0].verdict for seed in range(100)]
    assert found.count(Verdict.REGRESSED) >= 0.85 * len(found)
    assert Verdict.REGRESSED not in [table(seed, slower=1.01)[0].verdict for seed in range(100)]


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


@pytest.mark.parametrize("cells", [2, CELLS])
def test_intervals_of_pairs_cover_the_truth_as_often_as_they_say(cells: int) -> None:
    generator = np.random.default_rng(4)
    covered = []
    for _ in range(2400 // cells):
        spreads = 0.02 * np.sqrt(6 / generator.chisquare(6, cells))
        truth = generator.normal(0, 0.05, cells)
        first = truth + spreads * generator.normal(size=(SCREEN_PAIRS, cells))
        second = truth + spreads * generator.normal(size=(CONFIRM_PAIRS, cells))
        pairs = {cell: first[:, cell].tolist() for cell in range(cells)}
        for again in ({}, {cell: second[:, cell].tolist() for cell in range(cells)}):
            judged = judge_pairs(pairs, again)
            covered += [judged[cell].ratio.holds(math.exp(truth[cell])) for cell in range(cells)]
    assert 0.93 <= sum(covered) / len(covered) <= 0.97


def test_in_300_tables_of_recorded_processes_nothing_is_called_and_five_percent_is_seen() -> None:
    _, values, anchored = recorded()
    tables = 300
    pairs = ours_in_pairs(values, tables, np.random.default_rng(0))
    assert pairs.false == 0
    assert pairs.seen[1.05] >= 0.95 * tables
    nights = ours_beside_history(anchored, tables, np.random.default_rng(0), processes=3)
    assert nights.false == 0
    assert nights.seen[1.10] >= 0.95 * tables


def test_of_a_history_of_single_processes_nothing_is_called_and_more_would_be_wrong() -> None:
    _, _, anchored = recorded()
    assert ours_beside_history(anchored, 100, np.random.default_rng(0), processes=1).false == 0
    assert ours_beside_history(anchored, 300, np.random.default_rng(0), processes=1, confirmed=False).false > 3


values = st.lists(st.floats(-0.2, 0.2), min_size=SCREEN_PAIRS, max_size=SCREEN_PAIRS)
tables = st.lists(values, min_size=2, max_size=8).filter(lambda found: all(np.var(one) > 1e-9 for one in found))


@settings(deadline=None)
@given(tables)
def test_swapping_base_and_candidate_swaps_the_verdicts(found: list[list[float]]) -> None:
    first = dict(enumerate(found))
    second = {cell: first[cell] * 2 for cell in screen(first)}
    swapped = [{cell: [-one for one in logs] for cell, logs in stage.items()} for stage in (first, second)]
    before, after = judge_pairs(first, second), judge_pairs(*swapped)
    for cell in first:
        if {before[cell].verdict, after[cell].verdict}.isdisjoint({Verdict.SUSPECT}):  # only slower cells are suspects
            assert after[cell].verdict == OPPOSITE.get(before[cell].verdict, before[cell].verdict)
        assert after[cell].ratio.value == pytest.approx(1 / before[cell].ratio.value)


@settings(deadline=None)
@given(tables)
def test_the_order_of_cells_and_pairs_does_not_matter(found: list[list[float]]) -> None:
    first = dict(enumerate(found))
    second = {cell: first[cell] * 2 for cell in screen(first)}
    turned = judge_pairs(
        dict(reversed([(cell, logs[::-1]) for cell, logs in first.items()])),
        dict(reversed([(cell, logs[::-1]) for cell, logs in second.items()])),
    )
    for cell, judgment in judge_pairs(first, second).items():
        assert turned[cell].verdict == judgment.verdict


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


@pytest.mark.parametrize(("first", "second"), [(0.02, 0.1), (0.1, 0.02), (0.05, 0.05)])
def test_a_machine_that_became_noisy_or_quiet_between_the_stages_makes_nothing_certain(
    first: float, second: float
) -> None:
    generator = np.random.default_rng(5)
    false, covered = 0, []
    for _ in range(1000):
        pairs = {cell: (first * generator.normal(size=SCREEN_PAIRS)).tolist() for cell in range(2)}
        fresh = {cell: (second * generator.normal(size=CONFIRM_PAIRS)).tolist() for cell in range(2)}
        judged = judge_pairs(pairs, fresh)
        false += any(judgment.verdict in CHANGED for judgment in judged.values())
        covered += [judgment.ratio.holds(1.0) for judgment in judged.values()]
    assert binomtest(false, 1000).proportion_ci(0.95).low <= 0.01
    assert sum(covered) / len(covered) >= 0.93


def test_two_scattered_pairs_of_thousands_of_cells_are_no_overflow() -> None:
    noise = np.random.default_rng(0).normal(size=(5000, 2))
    judged = judge_pairs({cell: (0.2 * noise[cell]).tolist() for cell in range(5000)}, {})
    assert {judgment.verdict for judgment in judged.values()} <= {Verdict.INCONCLUSIVE, Verdict.SUSPECT, Verdict.STABLE}


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


def test_a_slowdown_inside_the_margin_is_stable_however_certain() -> None:
    pairs = {cell: [0.05, 0.051, 0.049, 0.05, 0.052] for cell in range(4)}
    again = {cell: logs * 2 for cell, logs in pairs.items()}
    judged = judge_pairs(pairs, again, fail_above=0.5)
    assert {judgment.verdict for judgment in judged.values()} == {Verdict.STABLE}
    assert {judgment.verdict for judgment in judge_pairs(pairs, again).values()} == {Verdict.REGRESSED}


def test_a_cell_that_is_known_to_scatter_is_never_taken_for_a_quiet_one() -> None:
    pairs = {cell: [0.05, 0.051, 0.049, 0.05, 0.052] for cell in range(4)}
    assert screen(pairs) == (0, 1, 2, 3)
    assert screen(pairs, floors={0: 0.2**2}) == (1, 2, 3)
    assert judge_pairs(pairs, {}, floors={0: 0.2**2})[0].verdict is Verdict.INCONCLUSIVE


def test_a_cell_with_fewer_pairs_than_the_others_leaves_them_as_they_were() -> None:
    pairs = {cell: [0.01 * cell, 0.02, -0.01, 0.0, 0.01] for cell in range(4)}
    judged = judge_pairs({**pairs, 9: [5.0, -5.0]}, {})
    assert {cell: judged[cell].ratio for cell in pairs} == {
        cell: judgment.ratio for cell, judgment in judge_pairs(pairs, {}).items()
    }


def test_what_could_have_been_seen_grows_with_the_scatter() -> None:
    noise = np.random.default_rng(0).normal(size=(CELLS, 8))
    in_pairs, in_history = [], []
    for spread in (0.001, 0.02, 0.1):
        logs = {cell: (spread * noise[cell]).tolist() for cell in range(CELLS)}
        in_pairs.append(float(np.median(list(detectable_in_pairs(logs).values()))))
        judged = judge_history(logs, {cell: [0.0, 0.0, 0.0] for cell in logs})
        in_history.append(float(np.median([judgment.min_detectable_ratio or 0 for judgment in judged.values()])))
    assert in_pairs == sorted(in_pairs)
    assert in_history == sorted(in_history)
    assert in_pairs[0] == pytest.approx(1.03)
    assert in_history[0] == pytest.approx(1.05)
