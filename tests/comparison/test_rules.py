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
    detectable_in_history,
    detectable_in_pairs,
    judge_history,
    judge_pairs,
    judge_single,
    screen,
)
from attnbench.comparison.verdict import Verdict
from attnbench.stats import Estimate

CELLS = 24
CHANGED = (Verdict.REGRESSED, Verdict.IMPROVED)
OPPOSITE = {Verdict.REGRESSED: Verdict.IMPROVED, Verdict.IMPROVED: Verdict.REGRESSED}


def table(seed: int, *, slower: float = 1.0, spread: float = 0.017) -> dict[int, Judgment]:
    """A whole A/B of cells whose processes scatter as unequally as real ones; the first is slower."""
    generator = np.random.default_rng(seed)
    spreads = spread * np.sqrt(6 / generator.chisquare(6, CELLS)) * math.sqrt(2)
    shift = np.zeros(CELLS)
    shift[0] = math.log(slower)
    first = shift + spreads * generator.normal(size=(SCREEN_PAIRS, CELLS))
    second = shift + spreads * generator.normal(size=(CONFIRM_PAIRS, CELLS))
    pairs = {cell: first[:, cell].tolist() for cell in range(CELLS)}
    suspects = screen(pairs).suspects
    return judge_pairs(pairs, {cell: second[:, cell].tolist() for cell in range(CELLS) if cell in suspects})


def test_a_table_where_nothing_changed_raises_a_false_alarm_in_one_of_a_hundred_at_most() -> None:
    tables = 2000
    false = sum(any(one.verdict in CHANGED for one in table(seed).values()) for seed in range(tables))
    assert binomtest(false, tables).proportion_ci(0.95).high <= 0.01


def test_five_percent_is_seen_and_one_is_not() -> None:
    found = [table(seed, slower=1.05)[0].verdict for seed in range(200)]
    assert found.count(Verdict.REGRESSED) >= 0.85 * len(found)
    assert Verdict.REGRESSED not in [table(seed, slower=1.01)[0].verdict for seed in range(200)]


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(3)
    covered = []
    for _ in range(200):
        spreads = 0.02 * np.sqrt(6 / generator.chisquare(6, CELLS))
        runs = spreads * generator.normal(size=(9, CELLS))
        judged = judge_history(
            {cell: runs[:8, cell].tolist() for cell in range(CELLS)}, dict(enumerate(runs[8].tolist()))
        )
        covered += [one.ratio.holds(1.0) for one in judged.values()]
    assert 0.93 <= sum(covered) / len(covered) <= 0.97


values = st.lists(st.floats(-0.2, 0.2), min_size=SCREEN_PAIRS, max_size=SCREEN_PAIRS)
tables = st.lists(values, min_size=2, max_size=8).filter(lambda found: all(np.var(one) > 1e-9 for one in found))


@settings(deadline=None)
@given(tables)
def test_swapping_base_and_candidate_swaps_the_verdicts(found: list[list[float]]) -> None:
    first = dict(enumerate(found))
    second = {cell: first[cell] * 2 for cell in screen(first).suspects}
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
    second = {cell: first[cell] * 2 for cell in screen(first).suspects}
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
    now = dict.fromkeys(base, 0.1)
    before = judge_history(base, now)[0]
    after = judge_history(base, {**now, 0: 0.1 + more})[0]
    if before.verdict is Verdict.REGRESSED:
        assert after.verdict is Verdict.REGRESSED


@settings(deadline=None)
@given(tables, st.floats(-3, 3))
def test_a_history_on_another_scale_says_the_same(found: list[list[float]], scale: float) -> None:
    base = {cell: [*logs, 0.0] for cell, logs in enumerate(found)}
    now = {cell: 0.02 * cell for cell in base}
    plain = judge_history(base, now)
    scaled = judge_history(
        {cell: [one + scale for one in logs] for cell, logs in base.items()},
        {cell: one + scale for cell, one in now.items()},
    )
    for cell, judgment in plain.items():
        assert scaled[cell].ratio.value == pytest.approx(judgment.ratio.value)


def test_nothing_is_confirmed_beside_a_single_base() -> None:
    assert judge_single(Estimate(value=1.5, low=None, high=None)).verdict is Verdict.SUSPECT
    assert judge_single(Estimate(value=1.09, low=None, high=None)).verdict is Verdict.INCONCLUSIVE


def test_what_could_have_been_seen_grows_with_the_scatter() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(CELLS, 8))
    found = [
        detect({cell: (spread * noise[cell]).tolist() for cell in range(CELLS)})
        for detect in (detectable_in_history, detectable_in_pairs)
        for spread in (0.001, 0.02, 0.1)
    ]
    assert found[:3] == sorted(found[:3])
    assert found[3:] == sorted(found[3:])
    assert found[0] == pytest.approx(1.05)
    assert found[3] == pytest.approx(1.03)
