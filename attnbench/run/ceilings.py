"""What the device can do at most, as the judge measures it in every round while all participants sleep."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from attnbench.core.problem import Dtype, Problem
from attnbench.core.protocol import MeasureCopy, MeasureProduct, Message, RateMeasured
from attnbench.core.record import Case, Ceilings, Rate, Record
from attnbench.core.roofline import copied_bytes, is_implausible
from attnbench.run.cell_state import Setting
from attnbench.run.child_process import DeadlinePassed, WorkerDied

_EMULATED = 2.0
"""A product that takes so many times as long as in float32 is no arithmetic of the device's own."""


class RoundCeilings:
    """The ceilings of one round, each measured when the first case asks for it.

    Args:
        setting: What all cells have in common.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._rates: dict[Message, Rate | None] = {}

    def of(self, case: Case) -> Ceilings | None:
        """The ceilings of a case; None where they cannot be measured: a run without them is a run all the same."""
        return self._ceilings(case.problem, case.device)

    def judged(self, record: Record) -> Record:
        """The record; of a cell beyond its ceilings, with ceilings that were measured again now."""
        if record.ceilings is None or not is_implausible(record):
            return record
        self._rates.clear()
        again = self._ceilings(record.problem, record.device)
        return replace(record, ceilings=record.ceilings.highest(again)) if again else record

    def _ceilings(self, problem: Problem, device: str) -> Ceilings | None:
        environment = self._setting.environment
        size = copied_bytes(problem, cache=environment.cache, cache_bytes=environment.cache_bytes)
        copied = self._rate(MeasureCopy(moved_bytes=size, cache_bytes=environment.cache_bytes), device)
        product = self._rate(MeasureProduct(dtype=problem.dtype), device)
        # What a device has no arithmetic for, it can compute in float32.
        full = self._rate(MeasureProduct(dtype=Dtype.FLOAT32), device) if device == "cpu" else product
        if copied is None or product is None or full is None:
            return None
        fastest = max(product, full, key=lambda rate: rate.per_s)
        return Ceilings(
            bytes_per_s=copied.per_s,
            flops_per_s=fastest.per_s,
            copied_bytes=size,
            spread=max(copied.spread, fastest.spread),
            emulated=product.per_s * _EMULATED < full.per_s,
        )

    def _rate(self, asked: MeasureCopy | MeasureProduct, device: str) -> Rate | None:
        if asked not in self._rates:
            found = None
            with suppress(WorkerDied, DeadlinePassed):
                timeout_s = self._setting.measure.prepare_timeout_s
                reply, _ = self._setting.pool.ask_judge(asked, device=device, timeout_s=timeout_s)
                found = reply.rate if isinstance(reply, RateMeasured) else None
            self._rates[asked] = found
        return self._rates[asked]
