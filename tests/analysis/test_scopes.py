"""Where the time of a layer goes."""

from __future__ import annotations

from attnbench.analysis.scopes import ATTENTION, LAYOUT, PROJECTIONS, parts_of
from tests.analysis.tables import cell, rows


def measured(*scopes: tuple[str, float], backend: str = "sdpa", position: int = 0) -> list[tuple[str, float]]:
    cells = [cell(backend, [ms, ms], f"{scope} case", scope=scope, position=position) for scope, ms in scopes]
    (found,) = parts_of(rows(*cells))
    assert found.backend == backend
    return [(part, round(ms, 1)) for part, ms in found.latencies_ms]


def test_the_parts_are_the_differences_of_scopes() -> None:
    assert measured(("windows", 1.0), ("map", 1.5), ("layer", 4.0)) == [
        (ATTENTION, 1.0), (LAYOUT, 0.5), (PROJECTIONS, 2.5),
    ]  # fmt: skip


def test_what_no_scope_tells_apart_stays_together() -> None:
    assert measured(("map", 1.5), ("layer", 4.0)) == [(f"{ATTENTION} and {LAYOUT}", 1.5), (PROJECTIONS, 2.5)]
    assert measured(("windows", 1.0), ("layer", 4.0)) == [(ATTENTION, 1.0), (f"{LAYOUT} and {PROJECTIONS}", 3.0)]


def test_noise_makes_no_negative_part() -> None:
    assert measured(("windows", 1.0), ("map", 0.9)) == [(ATTENTION, 1.0), (LAYOUT, 0.0)]


def test_one_scope_has_no_parts_and_other_problems_are_other_groups() -> None:
    assert parts_of(rows(cell("sdpa", [1.0], "a", scope="map"), cell("sdpa", [2.0], "b", scope="layer", heads=4))) == []
    assert parts_of([]) == []
