"""Who is fastest, and that ties are called ties."""

from __future__ import annotations

import pytest

from attnbench.analysis.ranking import Certainty, contests, overall, share_within
from attnbench.core.record import Status
from tests.analysis.tables import cell, rows
from tests.samples import failed


def test_a_backend_whose_ratio_excludes_1_is_beaten_and_the_others_tie() -> None:
    (contest,) = contests(
        rows(
            cell("naive", (3.0, 3.1, 3.05)),
            cell("sdpa", (1.0, 1.1, 1.05)),
            cell("flash", (1.1, 1.0, 1.12)),
        )
    )
    assert contest.certainty is Certainty.TIE
    assert [standing.backend for standing in contest.winners] == ["sdpa", "flash"]
    assert contest.next is not None
    assert contest.next.backend == "naive"
    assert contest.next.times_best.value == pytest.approx(2.906, rel=1e-3)


def test_ratios_are_paired_so_that_a_slow_process_ties_nobody() -> None:
    (contest,) = contests(rows(cell("naive", (2.0, 8.0, 2.1)), cell("sdpa", (1.0, 4.0, 1.0))))
    assert contest.certainty is Certainty.CLEAR
    assert contest.standings[1].times_best.value == pytest.approx(2.03, rel=1e-2)


def test_one_process_says_nothing_of_ties() -> None:
    (contest,) = contests(rows(cell("naive", (2.0,)), cell("sdpa", (1.0,))))
    assert contest.certainty is Certainty.UNKNOWN
    assert [standing.backend for standing in contest.winners] == ["sdpa"]


def test_another_function_is_another_contest() -> None:
    found = contests(rows(cell("naive", (2.0, 2.0)), cell("swin", (1.0, 1.0), pattern="shifted")))
    assert [contest.certainty for contest in found] == [Certainty.ALONE, Certainty.ALONE]


def test_without_a_latency_nobody_wins() -> None:
    (contest,) = contests(rows([failed("naive", Status.OOM, "too much")]))
    assert contest.certainty is Certainty.NONE
    assert contest.winners == ()
    assert contest.next is None


def test_the_backend_for_all_is_measured_everywhere_and_near_the_fastest_not_uncertain() -> None:
    # ``wild`` ties everywhere because nothing is known of it; it is twice as slow.
    found = contests(
        rows(
            cell("wild", (1.0, 4.0, 2.0), case="a"),
            cell("sdpa", (1.0, 1.0, 1.01), case="a"),
            cell("partial", (0.5, 0.5, 0.51), case="a"),
            cell("wild", (1.0, 4.0, 2.0), case="b", heads=4),
            cell("sdpa", (1.0, 1.0, 1.01), case="b", heads=4),
            [failed("partial", Status.UNSUPPORTED, "no", case="b")],
        )
    )
    order = overall(found)
    assert [one.backend for one in order] == ["sdpa", "wild", "partial"]
    assert order[0].worst is not None
    assert (order[0].worst_case, round(order[0].worst.times_best.value, 2)) == ("a", 1.99)


def test_what_a_backend_cannot_compute_counts_against_its_share() -> None:
    found = contests(
        rows(
            cell("sdpa", (1.0, 1.0), case="a"),
            cell("naive", (1.2, 1.2), case="a"),
            cell("sdpa", (1.0, 1.0), case="b"),
            cell("naive", (3.0, 3.0), case="b"),
            [failed("flash", Status.UNAVAILABLE, "no", case="a")],
            cell("flash", (0.9, 0.9), case="b"),
        )
    )
    assert share_within(found, "naive", 1.3) == 0.5
    assert share_within(found, "flash", 1.0) == 0.5
    assert share_within(found, "sdpa", 10) == 1.0
    assert share_within(found, "absent", 10) is None


def test_an_implausible_latency_wins_nothing() -> None:
    found = rows(cell("honest", (1.0, 1.01)), cell("too good", (0.1, 0.11)))
    found[1]["flags"] = "unstable implausible"
    (contest,) = contests(found)
    assert [standing.backend for standing in contest.winners] == ["honest"]
    assert [row["backend"] for row in contest.failed] == ["too good"]
