"""How near a cell is to what its device allows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attnbench.core.cost import cost
from attnbench.core.flags import process_flags
from attnbench.core.record import Cache, Ceilings, Flag
from attnbench.core.roofline import ceilings_for, copied_bytes, is_implausible, roofline_fraction
from attnbench.results.table import table
from tests.samples import problem, record

MOVED = cost(problem()).bytes


def at(fraction: float, *, spread: float = 0.0) -> Ceilings:
    """Ceilings of which a cell of 2 ms is so much."""
    return Ceilings(bytes_per_s=MOVED / 2e-3 / fraction, flops_per_s=1e20, spread=spread)


def test_hot_data_is_held_against_a_copy_of_its_own_size_and_cold_data_against_memory() -> None:
    assert copied_bytes(problem(), cache=Cache.HOT, cache_bytes=2**25) == MOVED
    assert copied_bytes(problem(), cache=Cache.COLD, cache_bytes=2**25) is None
    assert copied_bytes(problem(), cache=Cache.HOT, cache_bytes=MOVED // 8) is None, "no cache holds it"


def test_a_problem_finds_its_ceilings_among_those_of_a_run() -> None:
    own, memory = replace(at(0.5), copied_bytes=MOVED), at(0.9)
    assert ceilings_for(problem(), [memory, own]) == own
    assert ceilings_for(problem(), [memory]) == memory
    near, far = (replace(own, copied_bytes=times * MOVED) for times in (2, 10))
    assert ceilings_for(problem(), [far, near]) == near
    assert ceilings_for(problem(), []) is None


@pytest.mark.parametrize(("fraction", "spread", "implausible"), [
    (0.5, 0.0, False), (1.04, 0.0, False), (1.06, 0.0, True), (1.06, 0.1, False), (1.2, 0.1, True),
])  # fmt: skip
def test_beyond_the_ceilings_by_more_than_they_are_uncertain_is_implausible(
    fraction: float, spread: float, implausible: bool
) -> None:
    one = record(samples_ms=(2.0,) * 20, ceilings=at(fraction, spread=spread))
    assert roofline_fraction(one) == pytest.approx(fraction)
    assert is_implausible(one) == implausible
    assert (Flag.IMPLAUSIBLE in process_flags(one)) == implausible


def test_an_implausible_cell_has_its_latency_and_no_fraction() -> None:
    records = [
        record(samples_ms=(2.0,) * 20, ceilings=at(fraction), round=number)
        for number, fraction in enumerate((1.5, 0.9))
    ]
    row = table(records, suite="s").iloc[0]
    assert row["flags"].split() == ["implausible"]
    assert row["latency_ms"] == pytest.approx(2.0)
    assert row[["roofline_fraction"]].isna().all()


def test_without_ceilings_nothing_is_implausible() -> None:
    one = record(ceilings=None)
    assert roofline_fraction(one) is None
    assert not is_implausible(one)
