"""Moderated variances and adjusted chances: what is fitted is what was drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import polygamma

from attnbench.comparison.inference import Prior, _inverse_trigamma, fit_prior, holm, quantile, upper_tail


@pytest.mark.parametrize(("variance", "degrees"), [(1.0, 4.0), (1e-4, 10.0), (25.0, 2.5)])
def test_the_prior_that_variances_were_drawn_from_is_found(variance: float, degrees: float) -> None:
    generator = np.random.default_rng(0)
    drawn = variance * degrees / generator.chisquare(degrees, 20_000)
    seen = drawn * generator.chisquare(4, 20_000) / 4
    found = fit_prior(seen.tolist(), 4)
    assert found.variance == pytest.approx(variance, rel=0.05)
    assert found.degrees == pytest.approx(degrees, rel=0.1)


def test_cells_that_scatter_alike_share_one_variance() -> None:
    seen = 3.0 * np.random.default_rng(1).chisquare(4, 500) / 4
    found = fit_prior(seen.tolist(), 4)
    assert found.degrees > 50
    assert found.moderate(100.0, 4)[0] == pytest.approx(3.0, rel=0.3 if math.isinf(found.degrees) else 5)


def test_no_cell_is_worth_more_than_all_of_them_together() -> None:
    assert fit_prior([1.0, 1.0], 4).moderate(1.0, 4)[1] == 8
    drawn = (np.random.default_rng(0).chisquare(4, 200) / 4).tolist()
    assert fit_prior(drawn, 4).moderate(1.0, 4)[1] <= 800


def test_a_single_cell_keeps_its_own_variance() -> None:
    assert fit_prior([2.0], 4).moderate(7.0, 4) == (7.0, 4)


def test_cells_that_never_vary_have_none() -> None:
    assert fit_prior([0.0, 0.0], 4) == Prior(variance=0.0, degrees=math.inf)


@given(st.floats(1e-8, 1e8))
def test_the_inverse_of_the_trigamma_function(value: float) -> None:
    assert float(polygamma(1, _inverse_trigamma(value))) == pytest.approx(value, rel=1e-3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_chances_keep_their_order_and_grow_by_the_number_of_cells_at_most(chances: list[float]) -> None:
    adjusted = holm(chances)
    for before, after in zip(chances, adjusted, strict=True):
        assert before <= after <= min(1.0, len(chances) * before) + 1e-12 or after >= before
    order = sorted(range(len(chances)), key=chances.__getitem__)
    assert [adjusted[index] for index in order] == sorted(adjusted)


@given(st.floats(0.01, 0.99), st.sampled_from([1.0, 4.0, 9.5, math.inf]))
def test_quantiles_and_tails_are_inverse(probability: float, degrees: float) -> None:
    assert upper_tail(quantile(1 - probability, degrees), degrees) == pytest.approx(probability)
