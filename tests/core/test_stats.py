"""Statistics from samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnbench.core.stats import estimate, geometric_mean, percentile, process_statistic

latencies = st.floats(1e-3, 1e3)


@given(st.lists(latencies, min_size=1, max_size=30), st.floats(0, 100))
def test_percentiles_are_numpys(samples: list[float], percent: float) -> None:
    assert percentile(samples, percent) == pytest.approx(float(np.percentile(samples, percent)))


@given(st.lists(latencies, min_size=2, max_size=10), st.floats(0.1, 10))
def test_scaling_all_blocks_scales_the_estimate(processes: list[float], factor: float) -> None:
    plain, scaled = estimate(processes), estimate([factor * process for process in processes])
    for name in ("value", "low", "high"):
        assert getattr(scaled, name) == pytest.approx(factor * getattr(plain, name), rel=1e-9)


@given(st.lists(latencies, min_size=2, max_size=10))
def test_the_interval_holds_the_value(processes: list[float]) -> None:
    found = estimate(processes)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value * (1 + 1e-12)
    assert found.value <= found.high * (1 + 1e-12)


def test_one_block_has_no_interval() -> None:
    alone = estimate([2.0])
    assert alone.value == pytest.approx(2.0)
    assert alone.low is None
    assert alone.high is None


def test_the_gpu_takes_the_median_and_the_cpu_the_tenth_percentile() -> None:
    samples = [float(value) for value in range(1, 12)]
    assert process_statistic(samples, "cuda") == 6.0
    assert process_statistic(samples, "cpu") == 2.0


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    draws = np.exp(generator.normal(0.0, 0.05, size=(4000, 5)))
    covered = 0
    for processes in draws.tolist():
        found = estimate(processes)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 1.0 <= found.high
    assert 0.94 < covered / 4000 < 0.96


def test_the_geometric_mean_of_a_factor_and_its_inverse_is_one() -> None:
    assert geometric_mean([4.0, 0.25]) == pytest.approx(1.0)
