"""What the device can do at most."""

from __future__ import annotations

import pytest
import torch

from attnbench.core.problem import Dtype
from attnbench.worker.ceilings import measure_ceilings


@pytest.mark.parametrize("dtype", list(Dtype))
def test_ceilings_are_numbers_a_machine_can_have(dtype: Dtype) -> None:
    found = measure_ceilings(torch.device("cpu"), dtype, cache_bytes=2**20)
    assert 1e8 < found.bytes_per_s < 1e13
    assert 1e7 < found.flops_per_s < 1e15


def test_the_fastest_repetition_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    # Three copies that take 2, 1 and 4 s: the second one is the ceiling.
    ticks = iter([0.0, 2.0, 2.0, 3.0, 3.0, 7.0, 7.0, 8.0, 8.0, 9.0, 9.0, 10.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    found = measure_ceilings(torch.device("cpu"), Dtype.FLOAT32, cache_bytes=2**20)
    assert found.bytes_per_s == 2 * 2**27
    assert found.flops_per_s == 2 * 512**3
