"""Series of a sweep, exponents beside the formula's, and crossovers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from attnbench.analysis.growth import growths, predicted_exponent
from attnbench.analysis.ranking import by_case, contests
from attnbench.analysis.sweeps import Axis, crossovers, series, sweep
from attnbench.core.record import Record, Status
from tests.analysis.tables import cell, rows
from tests.samples import failed

SIDES = (14, 28, 56)


def growing(
    latency_ms: Callable[[int], float], *, backend: str = "sdpa", noise: float = 0.0, window: int | None = 7
) -> list[Record]:
    draw = random.Random(backend)
    found = []
    for side in SIDES:
        drawn = [latency_ms(side * side) * math.exp(draw.gauss(0, noise)) for _ in range(5)]
        sizes = {"height": side, "width": side, "window_height": window or side, "window_width": window or side}
        found += cell(backend, drawn, case=f"{side}", **sizes)
    return found


def test_the_exponent_of_a_power_law_is_found_with_an_interval_over_processes() -> None:
    (along,) = series(rows(growing(lambda tokens: 0.01 * tokens**1.2, noise=0.02)), Axis.RESOLUTION)
    (found,) = growths(along)
    assert found.exponent.low is not None
    assert found.exponent.value == pytest.approx(1.2, abs=0.03)
    assert found.exponent.holds(1.2)
    assert found.agrees is False
    assert (found.sizes, found.smallest, found.largest, found.predicted) == (3, "14x14", "56x56", 1.0)


def test_an_interval_of_an_exponent_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = random.Random(1)
    cells = [
        cell(name, [side**2 * math.exp(draw.gauss(0, 0.05)) for _ in range(5)], str(side), height=side, width=side)
        for name in (f"backend {number:03}" for number in range(200))
        for side in SIDES
    ]
    (along,) = series(rows(*cells), Axis.RESOLUTION)
    found = growths(along)
    assert len(found) == 200
    assert 180 <= sum(one.exponent.holds(1.0) for one in found) <= 199


def test_global_attention_is_a_series_of_its_own_and_should_grow_with_the_square() -> None:
    (along,) = series(rows(growing(lambda tokens: 1e-4 * tokens**2, window=None)), Axis.RESOLUTION)
    assert along.is_global
    assert "window = map (global attention)" in along.title
    (found,) = growths(along)
    assert found.predicted == 2.0
    assert (found.exponent.value, found.bend) == pytest.approx((2.0, 1.0))


def test_a_call_of_fixed_cost_bends_the_line() -> None:
    (found,) = growths(series(rows(growing(lambda tokens: 1 + 0.002 * tokens)), Axis.RESOLUTION)[0])
    assert found.bend > 1.1
    assert found.exponent.value < 1


def test_sizes_that_are_near_each_other_have_no_exponent() -> None:
    near = rows(cell("sdpa", (1.0, 1.1)), cell("sdpa", (1.2, 1.3), case="8", window_height=8, window_width=8))
    (along,) = series(near, Axis.WINDOW)
    assert growths(along) == []


def test_one_process_gives_an_exponent_without_an_interval() -> None:
    cells = [cell("sdpa", (side**2,), str(side), height=side, width=side) for side in SIDES]
    (found,) = growths(series(rows(*cells), Axis.RESOLUTION)[0])
    assert found.exponent.value == pytest.approx(1.0)
    assert found.exponent.low is None
    assert found.agrees is None


def test_a_layer_has_projections_so_that_only_maps_and_images_predict_its_growth() -> None:
    def layers(**sizes: int) -> list[Record]:
        return cell("sdpa", (1.0, 1.0), case=str(sizes), scope="layer", **sizes)

    (heads,) = series(rows(layers(heads=2), layers(heads=4)), Axis.HEADS)
    assert predicted_exponent(heads) is None
    (maps,) = series(rows(layers(height=14, width=14), layers(height=28, width=28)), Axis.RESOLUTION)
    assert predicted_exponent(maps) == 1.0
    (images,) = series(rows(layers(batch=1), layers(batch=2)), Axis.BATCH)
    assert predicted_exponent(images) == 1.0


def test_series_differ_in_one_field_alone_and_are_named_by_what_varies_elsewhere() -> None:
    found = rows(
        *(
            cell("sdpa", (1.0, 1.0), f"{side} {dtype}", height=side, width=side, dtype=dtype)
            for side in SIDES
            for dtype in ("float32", "bfloat16")
        )
    )
    assert list(sweep(found)) == [Axis.RESOLUTION, Axis.DTYPE]
    assert [along.title for along in series(found, Axis.RESOLUTION)] == ["dtype float32", "dtype bfloat16"]
    assert [along.title for along in series(found, Axis.DTYPE)] == [f"resolution {side}x{side}" for side in SIDES]
    assert [len(along.rows) for along in series(found, Axis.RESOLUTION)] == [3, 3]


def test_a_field_of_which_every_backend_was_measured_once_is_no_axis() -> None:
    once = rows(cell("sdpa", (1.0, 1.0)), [failed("sdpa", Status.OOM, "too much", case="large")])
    assert sweep(once) == {}


def test_a_crossover_lies_between_two_sure_winners() -> None:
    found = rows(
        growing(lambda tokens: 1.0 if tokens < 500 else 9.0, backend="small"),
        growing(lambda tokens: 2.0 if tokens < 500 else 3.0, backend="large"),
    )
    (crossing,) = crossovers(series(found, Axis.RESOLUTION)[0], by_case(contests(found)))
    assert (crossing.before, crossing.below, crossing.after, crossing.above) == ("small", "14x14", "large", "28x28")


def test_a_tie_between_two_winners_is_passed_over() -> None:
    found = rows(
        cell("a", (1.0, 1.0, 1.01), "14", height=14, width=14),
        cell("b", (2.0, 2.0, 2.01), "14", height=14, width=14),
        cell("a", (1.0, 2.0, 1.5), "28", height=28, width=28),
        cell("b", (2.0, 1.0, 1.5), "28", height=28, width=28),
        cell("a", (2.0, 2.0, 2.01), "56", height=56, width=56),
        cell("b", (1.0, 1.0, 1.01), "56", height=56, width=56),
    )
    (crossing,) = crossovers(series(found, Axis.RESOLUTION)[0], by_case(contests(found)))
    assert (crossing.below, crossing.above, crossing.before, crossing.after) == ("14x14", "56x56", "a", "b")
