"""Who wins where, over two fields."""

from __future__ import annotations

from attnbench.analysis.maps import winner_maps
from attnbench.analysis.ranking import by_case, contests
from attnbench.analysis.sweeps import Axis
from attnbench.core.record import Record
from tests.analysis.tables import cell, rows


def both(case: str, **sizes: int) -> list[Record]:
    return [*cell("naive", (2.0, 2.01), case, **sizes), *cell("sdpa", (1.0, 1.01), case, **sizes)]


def sized(side: int, window: int) -> dict[str, int]:
    return {"height": side, "width": side, "window_height": window, "window_width": window}


def test_places_stand_by_size_whatever_the_order_of_the_suite() -> None:
    cells = [both(f"{side} {window}", **sized(side, window)) for side in (56, 112, 14) for window in (14, 7)]
    found = rows(*cells)
    (drawn,) = winner_maps(found, by_case(contests(found)), Axis.RESOLUTION, Axis.WINDOW)
    assert drawn.values == (["14x14", "56x56", "112x112"], ["7x7", "14x14"])
    assert len(drawn.places) == 6


def test_two_cases_that_ask_for_the_same_have_one_place() -> None:
    found = rows(both("one", **sized(14, 7)), both("again", **sized(14, 7)), both("other", **sized(28, 7)))
    (drawn,) = winner_maps(found, by_case(contests(found)), Axis.RESOLUTION, Axis.WINDOW)
    assert [(across, contest.case) for across, _, contest in drawn.places] == [("14x14", "one"), ("28x28", "other")]


def test_a_single_place_is_no_map() -> None:
    found = rows(both("one", **sized(14, 7), heads=2), both("other", **sized(28, 7), heads=4))
    assert winner_maps(found, by_case(contests(found)), Axis.RESOLUTION, Axis.WINDOW) == []
