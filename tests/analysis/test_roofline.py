"""The two ceilings of a run, and where a cell lies."""

from __future__ import annotations

from attnbench.analysis.roofline import intensity_of, roofs
from attnbench.core.cost import cost
from tests.analysis.tables import cell, rows
from tests.samples import problem


def test_a_roof_is_bandwidth_up_to_its_ridge_and_arithmetic_beyond() -> None:
    (roof,) = roofs({"ceilings": {"float32": [{"bytes_per_s": 2e10, "flops_per_s": 1e11}]}})["float32"]
    assert roof.ridge == 5.0
    assert roof.flops_per_s(1.0) == 2e10
    assert roof.flops_per_s(50.0) == 1e11


def test_a_run_without_ceilings_or_with_others_has_no_roof() -> None:
    assert roofs({}) == {}
    assert roofs({"ceilings": None}) == {}
    assert (
        roofs({"ceilings": {"float32": [{"flops_per_s": 1e11}], "float16": [{"bytes_per_s": 0, "flops_per_s": 1}]}})
        == {}
    )


def test_of_many_roofs_the_lowest_and_the_highest_are_drawn() -> None:
    known = [{"bytes_per_s": rate, "flops_per_s": 1e11, "copied_bytes": rate} for rate in (3e10, 1e10, 2e10)]
    assert [roof.ceilings.bytes_per_s for roof in roofs({"ceilings": {"float32": known}})["float32"]] == [1e10, 3e10]


def test_the_intensity_of_a_row_is_its_problems() -> None:
    (row,) = rows(cell("sdpa", (1.0,)))
    assert intensity_of(row) == cost(problem()).intensity
