"""The rule of ``ab`` on seeded synthetic tables: how often it is wrong, what it sees, and what never changes it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from attnbench.comparison.definitions import Judgment, Verdict
from attnbench.comparison.pairs_rule import ALPHA, LOOK_EVERY, MAX_ROUNDS, Budget, detectable, judge_cell, next_look

CELLS = 24
CHANGED = (Verdict.REGRESSED, Verdict.IMPROVED)
OPPOSITE = {Verdict.REGRESSED: Verdict.IMPROVED, Verdict.IMPROVED: Verdict.REGRESSED}


def verdict(logs: Sequence[float], budget: Budget) -> Verdict:
    """A cell's verdict once all rounds were looked at: what is measured after a decision changes nothing."""
    found = judge_cell(dict(enumerate(logs)), budget, rounds=budget.max_rounds)
    assert found is not None
    return found.verdict


def judged(logs: Sequence[float], budget: Budget, *, margin: float = 0.03) -> tuple[Judgment, int]:
    """A cell looked at until it is decided, and how many rounds that took."""
    rounds = 0
    while True:
        rounds = next_look(rounds, budget.max_rounds)
        found = judge_cell(dict(enumerate(logs[:rounds])), budget, rounds=rounds, margin=margin)
        assert found is not None
        if found.decided or rounds == budget.max_rounds:
            return found, rounds


def pairs(
    seed: int, *, slower: float = 1.0, spread: float = 0.015, wild: float = 0.0, cells: int = CELLS
) -> np.ndarray:
    """Pairs ``[cells, rounds]`` that scatter as unequally as real ones; of the first cell the candidate is slower."""
    generator = np.random.default_rng(seed)
    spreads = spread * np.sqrt(6 / generator.chisquare(6, (cells, 1)))
    found = spreads * generator.normal(size=(cells, MAX_ROUNDS))
    is_wild = generator.random(found.shape) < wild
    found[is_wild] += generator.choice([-0.2, 0.2], size=found.shape)[is_wild]
    found[0] += math.log(slower)
    return found


@pytest.mark.parametrize("share", [pytest.param(1.0, marks=pytest.mark.slow), pytest.param(0.25, id="fourth")])
@pytest.mark.parametrize(("cells", "spread", "wild"), [(1, 0.015, 0.0), (2, 0.2, 0.0), (CELLS, 0.015, 0.1)])
def test_a_table_where_nothing_changed_raises_a_false_alarm_in_one_of_a_hundred_at_most(
    cells: int, spread: float, wild: float, share: float
) -> None:
    tables = round(share * (1000 if cells < CELLS else 100))
    budget, false = Budget(cells=cells), 0
    for seed in range(tables):
        table = pairs(seed, cells=cells, spread=spread, wild=wild).tolist()
        false += any(verdict(logs, budget) is Verdict.REGRESSED for logs in table)
    assert binomtest(false, tables).proportion_ci(0.95).low <= ALPHA / 2


@pytest.mark.slow
def test_the_family_wise_error_rate_holds_at_the_edge_of_the_null_hypothesis() -> None:
    tables, budget, false = 2000, Budget(cells=4), 0
    for seed in range(tables):
        table = (pairs(seed, spread=0.02, cells=4) + math.log(1.01)).tolist()
        found = [judge_cell(dict(enumerate(logs)), budget, rounds=MAX_ROUNDS, margin=1e-6) for logs in table]
        false += any(one is not None and one.verdict is Verdict.REGRESSED for one in found)
    assert binomtest(false, tables).proportion_ci(0.95).low <= ALPHA


@pytest.mark.parametrize(
    ("slower", "wild", "share", "verdicts"),
    [
        (1.03, 0.0, 0.9, (Verdict.REGRESSED, Verdict.SUSPECT)),
        (1.05, 0.0, 0.99, (Verdict.REGRESSED,)),
        (1.05, 0.1, 0.93, (Verdict.REGRESSED,)),
        (1.25, 0.2, 0.99, (Verdict.REGRESSED,)),
        (0.95, 0.0, 0.99, (Verdict.IMPROVED,)),
    ],
)
def test_what_it_sees(slower: float, wild: float, share: float, verdicts: tuple[Verdict, ...]) -> None:
    budget = Budget(cells=CELLS)
    found = [verdict(pairs(seed, slower=slower, wild=wild)[0].tolist(), budget) for seed in range(200)]
    assert sum(verdict in verdicts for verdict in found) >= share * len(found), Counter(found)


def test_one_percent_is_never_called() -> None:
    budget = Budget(cells=CELLS)
    found = {verdict(pairs(seed, slower=1.01)[0].tolist(), budget) for seed in range(200)}
    assert found.isdisjoint(CHANGED)


def test_where_nothing_changed_most_cells_stop_at_the_first_look() -> None:
    budget = Budget(cells=CELLS)
    rounds = [judged(logs, budget)[1] for seed in range(20) for logs in pairs(seed, spread=0.01).tolist()]
    assert sum(one == LOOK_EVERY for one in rounds) >= 0.8 * len(rounds)


def test_a_slowdown_that_a_neighbour_hides_in_two_of_ten_pairs_is_red() -> None:
    generator = np.random.default_rng(1)
    logs = math.log(1.25) + 0.03 * generator.normal(size=MAX_ROUNDS)
    logs[[2, 7]] = math.log(0.7)
    assert judged(logs.tolist(), Budget(cells=4))[0].verdict is Verdict.REGRESSED


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from([1.0, 1.02, 1.04]), st.data())
def test_raising_any_pair_never_makes_a_slowdown_less_certain(seed: int, slower: float, data: st.DataObject) -> None:
    budget = Budget(cells=4)
    logs = pairs(seed, slower=slower, spread=0.02, cells=1)[0].tolist()
    raised = [*logs]
    for index in data.draw(st.lists(st.integers(0, MAX_ROUNDS - 1), min_size=1, max_size=4)):
        raised[index] += data.draw(st.sampled_from([0.01, 0.1, 0.9]))
    before, after = judged(logs, budget)[0], judged(raised, budget)[0]
    if before.verdict is Verdict.REGRESSED:
        assert after.verdict is Verdict.REGRESSED
    if after.verdict is Verdict.IMPROVED:
        assert before.verdict is Verdict.IMPROVED


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([1.0, 1.03, 1.1]))
def test_swapping_base_and_candidate_swaps_the_verdicts(seed: int, slower: float) -> None:
    logs = pairs(seed, slower=slower, spread=0.02, cells=1)[0].tolist()
    (before, took), (after, took_too) = (judged(one, Budget(cells=4)) for one in (logs, [-log for log in logs]))
    assert took == took_too
    if {before.verdict, after.verdict}.isdisjoint({Verdict.SUSPECT}):  # only slower cells are suspects
        assert after.verdict == OPPOSITE.get(before.verdict, before.verdict)
    assert after.ratio.value == pytest.approx(1 / before.ratio.value)


def judged_with_means(logs: Sequence[float], means: Sequence[float], rounds: int = MAX_ROUNDS) -> Judgment:
    found = judge_cell(
        dict(enumerate(logs[:rounds])), Budget(cells=4), rounds=rounds, means=dict(enumerate(means[:rounds]))
    )
    assert found is not None
    return found


def test_what_is_slow_now_and_then_is_seen_by_its_mean_although_its_fastest_calls_did_not_change() -> None:
    logs, noise = pairs(0, cells=2, spread=0.01)
    means = 4 * noise + math.log(1.1)
    early = judged_with_means(logs.tolist(), means.tolist(), rounds=LOOK_EVERY)
    assert (early.verdict, early.decided) == (Verdict.SUSPECT, False), "five pairs confirm nothing, and exclude nothing"
    late = judged_with_means(logs.tolist(), means.tolist())
    assert late.verdict is Verdict.REGRESSED
    assert late.reason.startswith("on average: its fastest calls change by ")
    assert late.ratio.value == pytest.approx(1.1, abs=0.02)


def test_what_is_fast_only_now_and_then_has_not_improved() -> None:
    logs, noise = pairs(0, cells=2, spread=0.01)
    found = judged_with_means((logs - 1.0).tolist(), (4 * noise - 0.02).tolist())
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason.startswith("only at times: its mean changes by ")
    assert judged_with_means((logs - 1.0).tolist(), (4 * noise - 1.0).tolist()).verdict is Verdict.IMPROVED


def test_means_that_scatter_much_more_raise_no_false_alarm_and_keep_no_cell_from_a_decision() -> None:
    tables, false, decided = 200, 0, 0
    for seed in range(tables):
        table, noise = pairs(seed, cells=4, spread=0.01), pairs(seed + tables, cells=4, spread=0.05, wild=0.05)
        found = [judged_with_means(logs, means) for logs, means in zip(table.tolist(), noise.tolist(), strict=True)]
        false += any(one.verdict is Verdict.REGRESSED for one in found)
        decided += sum(one.decided for one in found)
    assert binomtest(false, tables).proportion_ci(0.95).low <= ALPHA
    assert decided >= 0.97 * 4 * tables


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([1.0, 1.05]), st.integers(0, MAX_ROUNDS - 1))
def test_raising_the_mean_of_a_pair_never_makes_a_slowdown_less_certain(seed: int, slower: float, index: int) -> None:
    logs, noise = pairs(seed, spread=0.02, cells=2)
    means = 2 * noise + math.log(slower)
    raised = means.copy()
    raised[index] += 0.3
    before, after = (judged_with_means(logs.tolist(), one.tolist()) for one in (means, raised))
    if before.verdict is Verdict.REGRESSED:
        assert after.verdict is Verdict.REGRESSED


def test_what_is_measured_after_a_decision_changes_nothing() -> None:
    budget = Budget(cells=4)
    logs = pairs(0, slower=1.1, cells=1)[0]
    _, rounds = judged(logs.tolist(), budget)
    later = [*logs[:rounds], *[-1.0] * (MAX_ROUNDS - rounds)]
    found = judge_cell(dict(enumerate(later)), budget, rounds=MAX_ROUNDS)
    assert found is not None
    assert found.verdict is Verdict.REGRESSED


def test_a_slowdown_inside_the_margin_is_stable_however_certain() -> None:
    logs = [0.05 + 0.001 * (index % 5) for index in range(MAX_ROUNDS)]
    assert judged(logs, Budget(cells=4), margin=0.5)[0].verdict is Verdict.STABLE
    assert judged(logs, Budget(cells=4))[0].verdict is Verdict.REGRESSED


def test_rounds_that_failed_on_one_side_leave_a_cell_judged_by_the_others() -> None:
    logs = {number: 0.1 + 0.001 * number for number in range(20) if number not in (3, 8)}
    found = judge_cell(logs, Budget(cells=4), rounds=20)
    assert found is not None
    assert found.verdict is Verdict.REGRESSED
    assert judge_cell({0: 0.1}, Budget(cells=4), rounds=5) is None


def test_the_shares_of_the_error_add_up_and_looks_too_early_have_none() -> None:
    for cells, most in ((1, 40), (24, 40), (1000, 40), (4, 12)):
        budget = Budget(cells=cells, max_rounds=most)
        shares = dict(budget.shares(budget.looks(most)))
        assert sum(shares.values()) == pytest.approx(1.0)
        assert shares[5] == 0
        assert all(share == 0 or 2.0**-look * budget.tests <= ALPHA * share for look, share in shares.items())
    assert not Budget(cells=24, max_rounds=11).can_confirm
    assert Budget(cells=24, max_rounds=Budget(cells=24).fewest_rounds).can_confirm


def test_what_could_have_been_seen_grows_with_the_scatter_and_shrinks_with_the_rounds() -> None:
    noise = np.random.default_rng(0).normal(size=10)
    found = [detectable(spread * noise, Budget(cells=CELLS), 0.03) or 0 for spread in (0.001, 0.02, 0.1)]
    assert found[0] == pytest.approx(1.03)
    assert found == sorted(found)
    fewer = detectable(0.1 * noise, Budget(cells=CELLS, max_rounds=15), 0.03)
    assert fewer is not None
    assert fewer > found[2]
    assert detectable(noise, Budget(cells=CELLS, max_rounds=5), 0.03) is None


def test_half_of_the_slowdowns_that_can_just_be_seen_are_seen() -> None:
    budget, spread = Budget(cells=CELLS), 0.05
    just = detectable(pairs(0, spread=spread)[0], budget, 0.03)
    assert just is not None
    seen = 0
    for seed in range(200):
        logs = (
            pairs(seed, spread=0.0)[0] + spread * np.random.default_rng(seed).normal(size=MAX_ROUNDS) + math.log(just)
        )
        seen += verdict(logs.tolist(), budget) is Verdict.REGRESSED
    assert 0.25 <= seen / 200 <= 0.85
