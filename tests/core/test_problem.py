"""Geometry of problems."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnbench.core.errors import ProblemError
from attnbench.core.files import read
from attnbench.core.problem import Axis, Problem
from tests.samples import problem


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    size = draw(st.integers(1, 40))
    window = draw(st.integers(1, size))
    shift = draw(st.sampled_from([0, window // 2])) if window < size else 0
    return Axis(size=size, window=window, shift=shift)


@given(axes())
def test_padding_completes_the_last_window_and_no_more(axis: Axis) -> None:
    assert axis.padded == axis.windows * axis.window
    assert 0 <= axis.padding < axis.window
    assert axis.size + axis.padding == axis.padded


@given(axes())
def test_tokens_of_a_rolled_window_share_a_region_exactly_where_they_share_a_displaced_window(axis: Axis) -> None:
    regions = axis.regions()
    for first in range(axis.padded):
        for second in range(axis.padded):
            same = first // axis.window == second // axis.window and regions[first] == regions[second]
            original = [(position + axis.shift) % axis.padded for position in (first, second)]
            displaced = [(position + axis.window - axis.shift) // axis.window for position in original]
            assert same == (displaced[0] == displaced[1])


@given(axes())
def test_rolling_keeps_every_token_of_the_map(axis: Axis) -> None:
    assert sum(axis.real()) == axis.size


def test_a_side_that_one_window_covers_is_not_shifted() -> None:
    assert not problem(height=7, width=7, pattern="shifted").shifted
    tall = problem(height=14, width=7, pattern="shifted")
    assert (tall.rows.shift, tall.columns.shift) == (3, 0)


def test_windows_count_both_sides_after_padding() -> None:
    detection = problem(height=200, width=334)
    assert (detection.rows.padded, detection.columns.padded) == (203, 336)
    assert detection.windows == 29 * 48
    assert detection.padded


def test_masked_padding_matters_only_where_windows_do_not_divide_the_map() -> None:
    assert not problem(padding="masked").masked
    assert problem(height=15, padding="masked").masked
    assert not problem(height=15, padding="zero").masked


def test_a_problem_survives_json() -> None:
    given_problem = problem(dtype="bfloat16", mode="forward_backward", bias="relative", scope="layer")
    assert read(Problem, given_problem.to_json()) == given_problem


def test_the_label_names_all_that_is_not_usual() -> None:
    assert problem().label == "b2 14x14 w7 h2 float32"
    unusual = problem(window_height=7, window_width=14, head_dim=64, padding="masked", bias="relative", scope="layer")
    assert unusual.label == "b2 14x14 w7x14 h2 d64 float32 masked layer bias-relative"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"batch": 0}, "batch: 0 is not a size (allowed: 1 or more)"),
        ({"heads": -2}, "heads: -2 is not a size (allowed: 1 or more)"),
        ({"window_width": 0}, "window: 0 is not a size (allowed: 1 or more)"),
        (
            {"window_height": 15},
            "window: 15x7 is larger than the map 14x14 (allowed: up to the map, side by side)",
        ),
    ],
)
def test_a_contradictory_problem_says_what_is_allowed(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ProblemError) as caught:
        problem(**fields)
    assert str(caught.value) == sentence
