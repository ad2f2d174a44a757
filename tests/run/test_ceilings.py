"""What the device can do at most, round by round."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from attnbench.core.cost import cost
from attnbench.core.problem import Dtype
from attnbench.core.protocol import Failed, MeasureCopy, MeasureProduct, Message, RateMeasured
from attnbench.core.record import Cache, Case, Measure, Rate, Status
from attnbench.run.ceilings import RoundCeilings
from attnbench.run.child_process import DeadlinePassed
from tests.samples import environment, problem, record

MOVED = cost(problem()).bytes


class Judge:
    """Answers in the place of a pool's judge; ``rates`` by what is asked, the last one for ever."""

    def __init__(self, *copies: float, **products: float) -> None:
        self.copies, self.products = list(copies), products
        self.spreads: dict[str, float] = {}
        self.asked: list[Message] = []

    def ask_judge(self, message: Message, **_: object) -> tuple[Message, list[int]]:
        self.asked.append(message)
        if isinstance(message, MeasureProduct):
            spread = self.spreads.get(message.dtype, 0.01)
            return RateMeasured(rate=Rate(per_s=self.products.get(message.dtype, 1e12), spread=spread)), []
        rate = self.copies.pop(0) if len(self.copies) > 1 else self.copies[0]
        return RateMeasured(rate=Rate(per_s=rate, spread=0.02)), []


def ceilings(judge: Any, *, cache: Cache = Cache.HOT) -> RoundCeilings:
    setting = SimpleNamespace(
        pool=judge, environment=replace(environment(), cache=cache, cache_bytes=2**25), measure=Measure(threads=1)
    )
    return RoundCeilings(cast("Any", setting))


def case(dtype: Dtype = Dtype.FLOAT32) -> Case:
    return Case(name="a case", problem=replace(problem(), dtype=dtype), device="cpu", threads=1)


def test_what_was_measured_in_a_round_is_not_measured_again() -> None:
    judge = Judge(1e10)
    known = ceilings(judge)
    first = known.of(case())
    assert first == known.of(case())
    assert judge.asked == [MeasureCopy(moved_bytes=MOVED, cache_bytes=2**25), MeasureProduct(dtype=Dtype.FLOAT32)]
    assert first is not None
    assert (first.copied_bytes, first.spread, first.emulated) == (MOVED, 0.02, False)


def test_cold_cells_are_held_against_memory_whatever_they_move() -> None:
    judge = Judge(1e10)
    assert ceilings(judge, cache=Cache.COLD).of(case()) is not None
    assert judge.asked[0] == MeasureCopy(moved_bytes=None, cache_bytes=2**25)


def test_a_dtype_without_arithmetic_is_named_and_held_against_float32() -> None:
    found = ceilings(Judge(1e10, float16=1e9, float32=1e11)).of(case(Dtype.FLOAT16))
    assert found is not None
    assert (found.flops_per_s, found.emulated) == (1e11, True)
    found = ceilings(Judge(1e10, bfloat16=3e11, float32=1e11)).of(case(Dtype.BFLOAT16))
    assert found is not None
    assert (found.flops_per_s, found.emulated) == (3e11, False)


def test_the_uncertainty_is_that_of_the_rate_that_counts() -> None:
    judge = Judge(1e10, float16=1e9, float32=1e11)
    judge.spreads = {Dtype.FLOAT16: 0.5}
    found = ceilings(judge).of(case(Dtype.FLOAT16))
    assert found is not None
    assert found.spread == 0.02


def test_a_cell_beyond_its_ceilings_is_judged_by_fresh_ones() -> None:
    # 2 ms for MOVED bytes: 1.25 times what the copy did before, and 0.5 of what it does now.
    rate = MOVED / 2e-3
    known = ceilings(Judge(rate / 1.25, 2 * rate))
    one = record(samples_ms=(2.0,) * 20, ceilings=known.of(case()))
    found = known.judged(one).ceilings
    assert found is not None
    assert found.bytes_per_s == 2 * rate
    assert found == known.of(case()), "the next cells know it, too"


def test_a_cell_below_its_ceilings_costs_no_further_measurement() -> None:
    judge = Judge(1e13)
    known = ceilings(judge)
    one = record(samples_ms=(2.0,) * 20, ceilings=known.of(case()))
    before = len(judge.asked)
    assert known.judged(one) is one
    assert len(judge.asked) == before


@pytest.mark.parametrize("trouble", [DeadlinePassed(), None])
def test_a_run_without_ceilings_is_a_run_all_the_same(trouble: Exception | None) -> None:
    class Silent:
        def ask_judge(self, *_: object, **__: object) -> tuple[Message, list[int]]:
            if trouble is not None:
                raise trouble
            return Failed(status=Status.ERROR, reason="no"), []

    assert ceilings(Silent()).of(case()) is None
