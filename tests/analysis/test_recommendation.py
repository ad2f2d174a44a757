"""What to use: as measured, between measured sizes where a power law holds, and nothing where it does not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from attnbench.analysis.recommendation import Basis, NotCoveredError, recommend
from attnbench.core.record import Record, Status
from tests.analysis.tables import cell, stored
from tests.samples import failed, problem

SIDES = (14, 28, 42, 56, 70)


def sweep(backend: str, factor: float, *, exponent: float = 1.0, position: int = 0, jump: float = 1.0) -> list[Record]:
    found = []
    for side in SIDES:
        base = factor * (side * side / 1000) ** exponent * (jump if side > 28 else 1.0)
        found += cell(
            backend, [base, 1.01 * base, 0.99 * base], f"{side}", height=side, width=side, position=position,
            peak_bytes=side * side * 1000,
        )  # fmt: skip
    return found


def test_a_measured_problem_is_answered_by_its_own_cells() -> None:
    found = recommend([stored(sweep("naive", 2.0), sweep("sdpa", 1.0, position=1))], problem(height=28, width=28))
    assert (found.backend, found.basis, found.sure) == ("sdpa", Basis.MEASURED, True)
    assert found.runner_up is not None
    assert found.runner_up.times_best.value == pytest.approx(2.0)
    assert found.candidates[0].peak_bytes == 28 * 28 * 1000


def test_a_tie_is_told() -> None:
    run = stored(cell("a", (1.0, 1.2, 1.1)), cell("b", (1.1, 1.1, 1.15), position=1))
    found = recommend([run], problem())
    assert found.sure is False
    assert all(one.tied for one in found.candidates)


def test_one_process_cannot_tell_how_sure_it_is() -> None:
    assert recommend([stored(cell("a", (1.0,)), cell("b", (2.0,)))], problem()).sure is None


def test_the_newest_run_that_measured_the_problem_decides() -> None:
    old = stored(cell("a", (1.0, 1.0)), cell("b", (2.0, 2.0)), path="old")
    new = stored(cell("a", (2.0, 2.0)), cell("b", (1.0, 1.0)), path="new")
    assert recommend([new, old], problem()).backend == "b"
    elsewhere = stored(cell("a", (1.0, 1.0), heads=7), path="newest")
    found = recommend([elsewhere, new, old], problem())
    assert (found.backend, found.run) == ("b", "new")


def test_between_measured_sizes_a_power_law_answers_and_says_so() -> None:
    run = stored(sweep("naive", 2.0, exponent=1.1), sweep("sdpa", 1.0, exponent=1.1, position=1))
    found = recommend([run], problem(height=35, width=35))
    assert (found.backend, found.basis, found.sure, found.points) == ("sdpa", Basis.MODEL, True, 5)
    assert found.candidates[0].latency_ms.value == pytest.approx((35 * 35 / 1000) ** 1.1, rel=0.01)
    assert found.runner_up is not None
    assert found.runner_up.times_best.value == pytest.approx(2.0, rel=0.01)
    assert found.error is not None
    assert found.error < 1.01
    assert found.candidates[0].peak_bytes == pytest.approx(35 * 35 * 1000, rel=1e-3)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"height": 140, "width": 140}, "the problem lies outside of what was measured"),
        ({"height": 35, "width": 35, "heads": 3}, "the problem lies outside of what was measured"),
        ({"height": 36, "width": 36}, "no run measured anything like it"),  # the windows do not divide it
        ({"height": 35, "width": 35, "dtype": "float16"}, "no run measured anything like it"),
        ({"height": 35, "width": 35, "pattern": "shifted"}, "no run measured anything like it"),
    ],
)
def test_beyond_what_was_measured_it_declines(fields: dict[str, object], why: str) -> None:
    with pytest.raises(NotCoveredError, match=why) as caught:
        recommend([stored(sweep("sdpa", 1.0))], problem(**fields))
    assert caught.value.exit_code == 4
    assert str(caught.value).endswith("measure it")


def test_it_declines_where_the_law_of_a_possible_winner_does_not_hold() -> None:
    # ``sdpa`` leaves a cache between 28 and 42: nobody knows where it is slower than ``naive`` in between.
    run = stored(sweep("naive", 2.0), sweep("sdpa", 1.0, jump=4.0, position=1))
    with pytest.raises(
        NotCoveredError, match="sdpa: no power law holds: it misses measured latencies by up to"
    ) as caught:
        recommend([run], problem(height=35, width=35))
    assert "naive" not in str(caught.value)


def test_it_does_not_need_the_law_of_a_backend_that_never_wins() -> None:
    run = stored(sweep("naive", 20.0, jump=4.0), sweep("sdpa", 1.0, position=1))
    found = recommend([run], problem(height=35, width=35))
    assert found.backend == "sdpa"
    assert any(sentence.startswith("naive: no power law holds") for sentence in found.excluded)


def test_a_memory_limit_excludes_what_is_above_it_and_what_is_not_known() -> None:
    run = stored(
        cell("large", (1.0, 1.0), peak_bytes=2**22),
        cell("unknown", (1.5, 1.5), peak_bytes=None, position=1),
        cell("small", (2.0, 2.0), peak_bytes=2**20, position=2),
    )
    found = recommend([run], problem(), memory_limit=2**21)
    assert found.backend == "small"
    assert "large: its peak memory of 4 MiB is above the limit of 2 MiB" in found.excluded
    assert "unknown: its peak memory is not known" in found.excluded


def test_a_problem_that_every_backend_failed_is_told_with_the_reasons() -> None:
    with pytest.raises(NotCoveredError, match="flash: oom: too much") as caught:
        recommend([stored([failed("flash", Status.OOM, "too much")])], problem())
    assert "measure it" not in str(caught.value)


def test_runs_of_several_devices_are_refused() -> None:
    with pytest.raises(NotCoveredError, match=r"the runs are of several devices \(A, B\); name those of one"):
        recommend([stored(device_name="A"), stored(device_name="B")], problem())


def test_a_shifted_problem_is_answered_by_the_case_in_which_all_backends_shift() -> None:
    shifted = {"pattern": "shifted"}
    run = stored(
        cell("naive", (1.0, 1.0), "grouped"),
        cell("swin", (0.5, 0.5), "grouped", position=1, **shifted),
        cell("naive", (2.0, 2.0), "shifted", position=2, **shifted),
        cell("swin", (3.0, 3.0), "shifted", position=3, **shifted),
    )
    assert [one.backend for one in recommend([run], problem(pattern="shifted")).candidates] == ["naive", "swin"]


def test_a_label_of_the_suite_is_told_with_the_name_that_loads() -> None:
    entries: Sequence[object] = [{"name": "flash_attn", "label": "fa2", "python": "../fa2"}, "naive"]
    found = recommend([stored(cell("fa2", (1.0, 1.0)), suite={"backends": entries})], problem())
    assert (found.backend, found.name) == ("fa2", "flash_attn")
