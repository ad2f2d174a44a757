"""What the device can do at most."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from attnbench.core.problem import Dtype
from attnbench.worker import ceilings
from attnbench.worker.ceilings import copy_rate, memory_copy_bytes, product_rate

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", list(Dtype))
def test_a_product_has_a_rate_that_a_machine_can_have(dtype: Dtype) -> None:
    found = product_rate(CPU, dtype)
    assert 1e7 < found.per_s < 1e15
    assert found.spread >= 0


@pytest.mark.parametrize(("took_s", "sides"), [(1e-4, [128, 256, 512]), (0.011, [128])])
def test_a_dtype_that_is_emulated_gets_a_smaller_product(
    monkeypatch: pytest.MonkeyPatch, took_s: float, sides: list[int]
) -> None:
    multiplied: list[int] = []

    def timed(call: Callable[[], object], calls: int, _: torch.device) -> float:
        found = call()
        assert isinstance(found, torch.Tensor)
        multiplied.append(found.shape[0])
        return took_s * calls

    monkeypatch.setattr(ceilings, "_seconds", timed)
    assert product_rate(CPU, Dtype.BFLOAT16).per_s == pytest.approx(2 * sides[-1] ** 3 / took_s)
    assert list(dict.fromkeys(multiplied)) == sides


@pytest.mark.parametrize("moved", [1, 2**12, 2**21, 2**28])
def test_a_copy_of_any_size_has_a_rate(moved: int) -> None:
    assert 1e5 < copy_rate(CPU, moved).per_s < 1e13


def test_a_copy_through_memory_is_larger_than_any_cache() -> None:
    assert memory_copy_bytes("cpu", 2**20) == 2**28
    assert memory_copy_bytes("cpu", 2**28) == 2**31
    assert memory_copy_bytes("cuda", 2**25) == 2**31


def test_the_fastest_repetition_counts_and_the_blocks_say_how_sure_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two calls to begin with; then blocks whose fastest repetitions take 2, 1 and 4 s.
    took = iter([9.0, 5.0, 2.0, 1.0, 4.0])
    clock = itertools.accumulate(step for seconds in took for step in (0.0, seconds))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    found = copy_rate(CPU, 2**20)
    assert found.per_s == pytest.approx(2**20)
    assert found.spread == pytest.approx(3.0)


def test_a_small_copy_is_made_many_times_in_one_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def pretended(_: object, number: int, __: object) -> float:
        calls.append(number)
        return 1e-5 * number

    monkeypatch.setattr(ceilings, "_seconds", pretended)
    assert copy_rate(CPU, 2**10).per_s == pytest.approx(2**10 / 1e-5)
    assert set(calls) == {1, 100}


@pytest.mark.live
def test_a_call_of_known_traffic_comes_near_its_ceiling_and_not_beyond() -> None:
    # In caches and through memory: timed as cells are, held against the ceiling of the same size.
    from attnbench.core.stats import process_statistic
    from attnbench.worker.timing import sampler

    for moved in (2**21, 2**23, memory_copy_bytes("cpu", 2**25)):
        source = torch.rand(moved // 8)
        target = torch.empty_like(source)
        fractions = []
        for _ in range(7):
            rate = copy_rate(CPU, moved)
            clock = sampler(target.copy_, CPU, None)
            clock.warm_up(source, settle=False)
            took_ms = process_statistic(clock.take_turn(source, 0.3).samples_ms, "cpu")
            fractions.append(1e3 * moved / max(rate.per_s, copy_rate(CPU, moved).per_s) / took_ms)
        assert sorted(fractions)[3] > 0.5, (moved, fractions)
        assert sorted(fractions)[5] < 1.05, (moved, fractions)
