"""The two ceilings of a run, and where a cell lies."""

from __future__ import annotations

from attnbench.analysis.roofline import intensity_of, roofs
from attnbench.core.cost import cost
from tests.analysis.tables import cell, rows
from tests.samples import problem


def test_a_roof_is_bandwidth_up_to_its_ridge_and_arithmetic_beyond() -> None:
    roof = roofs({"ceilings": {"float32": {"bytes_per_s": 2e10, "flops_per_s": 1e11}}})["float32"]
    assert roof.ridge == 5.0
    assert roof.flops_per_s(1.0) == 2e10
    assert roof.flops_per_s(50.0) == 1e11


def test_a_run_without_ceilings_or_with_others_has_no_roof() -> None:
    assert roofs({}) == {}
    assert roofs({"ceilings": None}) == {}
    assert (
        roofs({"ceilings": {"float32": {"flops_per_s": 1e11}, "float16": {"bytes_per_s": 0, "flops_per_s": 1}}}) == {}
    )


def test_the_intensity_of_a_row_is_its_problems() -> None:
    (row,) = rows(cell("sdpa", (1.0,)))
    assert intensity_of(row) == cost(problem()).intensity
