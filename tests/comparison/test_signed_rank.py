"""The exact signed-rank test: against scipy and brute force, and what no value can undo."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from attnbench.comparison import signed_rank

logs = st.lists(st.floats(-0.3, 0.3).map(lambda value: round(value, 3)), min_size=5, max_size=16)


def test_with_few_pairs_it_is_wilcoxons_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed_rank, "_BOUND", 1.0)  # no bound: plain ranks
    signed_rank._scores.cache_clear()
    signed_rank._upper_tail.cache_clear()
    generator = np.random.default_rng(0)
    for pairs in (5, 9, 20):
        values = generator.normal(0.3, 1.0, pairs)
        expected = wilcoxon(values, alternative="greater", method="exact").pvalue
        assert signed_rank.p_above(values, 0.0) == pytest.approx(expected)
    signed_rank._scores.cache_clear()
    signed_rank._upper_tail.cache_clear()


def test_p_values_are_those_of_all_tosses_of_signs() -> None:
    sizes = np.array([0.5, 0.1, 0.9, 0.2, 0.7, 0.3, 0.8])
    tosses = [sizes * signs for signs in itertools.product((-1, 1), repeat=len(sizes))]
    found = np.array([signed_rank.p_above(tossed, 0.0) for tossed in tosses])
    for level in (1 / 128, 0.05, 0.3):
        assert (found <= level).mean() <= level
    assert found.min() == signed_rank.smallest_p_value(len(sizes))


@given(logs, st.data())
def test_raising_a_value_never_makes_a_slowdown_less_certain(values: list[float], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(values) - 1))
    raised = [*values]
    raised[index] += data.draw(st.floats(0, 1))
    assert signed_rank.p_above(raised, 0.01) <= signed_rank.p_above(values, 0.01)
    assert signed_rank.center(raised) >= signed_rank.center(values) - 1e-12
    assert signed_rank.interval(raised)[1] >= signed_rank.interval(values)[1] - 1e-12


@given(logs)
def test_bounds_are_what_the_test_does_not_exclude(values: list[float]) -> None:
    low, high = signed_rank.interval(values)
    level = max(0.025, signed_rank.smallest_p_value(len(values)))
    assert low <= signed_rank.center(values) <= high
    assert signed_rank.p_above(values, low + 1e-9) > level
    assert signed_rank.p_above(values, low - 1e-9) <= level
    assert signed_rank.lies_below(values, high + 1e-9)
    assert not signed_rank.lies_below(values, high - 1e-9)
    mirrored = signed_rank.interval([-value for value in values])
    assert (-mirrored[1], -mirrored[0]) == pytest.approx((low, high))


def test_a_wild_pair_weighs_no_more_than_an_ordinary_one() -> None:
    calm = [0.03 + 0.001 * index for index in range(19)]
    assert signed_rank.p_above([*calm, -5.0], 0.0) == signed_rank.p_above([*calm, -0.05], 0.0) < 1e-4
    assert signed_rank.center([*calm, -5.0]) == pytest.approx(signed_rank.center([*calm, -0.05]), rel=0.02)


def test_where_too_few_pairs_exclude_nothing_there_is_no_bound() -> None:
    assert signed_rank.lower_bound([0.1, 0.2], 0.01) == -math.inf
