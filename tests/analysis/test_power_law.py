"""A power law is found where there is one, and its error is what it gets wrong unseen."""

from __future__ import annotations

import math

import pytest

from attnbench.analysis.power_law import fit

SIZES = [(196.0, 49.0), (784.0, 49.0), (3136.0, 49.0), (784.0, 196.0), (3136.0, 196.0)]


def test_exact_powers_are_found_and_predicted() -> None:
    law = fit(SIZES, [tokens**1.1 * window**0.5 for tokens, window in SIZES])
    assert law is not None
    assert law.exponents == pytest.approx((1.1, 0.5))
    assert law.error == pytest.approx(1.0)
    assert law.predict((1600.0, 100.0)).value == pytest.approx(1600**1.1 * 10)


def test_its_error_is_that_of_a_point_it_has_not_seen() -> None:
    exact = [tokens * math.sqrt(window) for tokens, window in SIZES]
    law = fit(SIZES, [2 * exact[0], *exact[1:]])
    assert law is not None
    assert law.error == pytest.approx(2.0)  # the other four are exact, and predict half of what was measured


def test_too_few_points_or_sizes_that_change_together_give_no_law() -> None:
    assert fit([], []) is None
    assert fit(SIZES[:2], [1.0, 2.0]) is None
    together = [(size, size) for size in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)]
    assert fit(together, [size for size, _ in together]) is None


def test_a_point_that_alone_has_its_window_cannot_be_tested() -> None:
    sizes = [(196.0, 49.0), (784.0, 49.0), (3136.0, 49.0), (6272.0, 49.0), (784.0, 196.0)]
    assert fit(sizes, [1.0, 2.0, 3.0, 4.0, 5.0]) is None


def test_a_size_that_never_changes_is_covered_by_that_value_alone() -> None:
    sizes = [(tokens, 2.0) for tokens in (100.0, 200.0, 400.0, 800.0)]
    law = fit(sizes, [1.0, 2.0, 4.0, 8.0])
    assert law is not None
    assert law.exponents == pytest.approx((1.0, 0.0))
    assert law.covers((300.0, 2.0))
    assert not law.covers((300.0, 4.0))
    assert not law.covers((900.0, 2.0))


def test_the_prediction_interval_widens_with_noise() -> None:
    sizes = [(float(size),) for size in (1, 2, 4, 8, 16)]
    quiet, noisy = (
        fit(sizes, [size * (1 + step * (-1) ** index) for index, (size,) in enumerate(sizes)]) for step in (0.01, 0.1)
    )
    assert quiet is not None
    assert noisy is not None
    widths = [law.predict((3.0,)) for law in (quiet, noisy)]
    assert all(width.low is not None and width.holds(3.0) for width in widths)
    assert (widths[1].uncertainty or 0) > 5 * (widths[0].uncertainty or 0)
