"""Whatever is put in the place of what measures is named, and nothing else is."""

from __future__ import annotations

import builtins
import gc
import time
from functools import partial
from typing import Any

import pytest
import torch

from attnbench.backends import layout as windows
from attnbench.core import channel
from attnbench.worker import participant, prepared, timing
from attnbench.worker.call import Call
from attnbench.worker.integrity import Integrity
from attnbench.worker.reference import make_inputs
from tests.faults import Right
from tests.samples import problem


def other(*_: Any, **__: Any) -> Any:
    return 1


@pytest.mark.parametrize(
    ("owner", "name", "named"),
    [
        (time, "perf_counter_ns", "time.perf_counter_ns"),
        (time, "monotonic", "time.monotonic"),
        (builtins, "range", "builtins.range"),
        (builtins, "isinstance", "builtins.isinstance"),
        (timing, "_now_ns", "attnbench.worker.timing._now_ns"),
        (timing, "_range", "attnbench.worker.timing._range"),
        (timing, "_synchronize", "attnbench.worker.timing._synchronize"),
        (timing, "sampler", "attnbench.worker.timing.sampler"),
        (timing, "CpuSampler", "attnbench.worker.timing.CpuSampler"),
        (timing.CpuSampler, "_loop", "CpuSampler._loop"),
        (timing.Sampler, "take_turn", "Sampler.take_turn"),
        (prepared, "_now", "attnbench.worker.prepared._now"),
        (prepared, "vary_input", "attnbench.worker.prepared.vary_input"),
        (Call, "__call__", "Call.__call__"),
        (channel, "encode", "attnbench.core.channel.encode"),
        (windows, "partition", "attnbench.backends.layout.partition"),
    ],
)
def test_what_was_replaced_is_named_until_it_is_put_back(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, named: str
) -> None:
    integrity = Integrity()
    with monkeypatch.context() as patch:
        # In the place of a builtin something that works: others need it meanwhile.
        patch.setattr(owner, name, partial(getattr(owner, name)) if owner is builtins else other)
        broken = integrity.broken()
    assert broken == named
    assert integrity.broken() is None


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (timing.flush_buffer, "attnbench.worker.timing.flush_buffer"),
        (timing.CpuSampler._take, "CpuSampler._take"),
        (participant.serve, "attnbench.worker.participant.serve"),
    ],
)
def test_a_function_whose_code_was_replaced_is_named(
    monkeypatch: pytest.MonkeyPatch, function: Any, named: str
) -> None:
    integrity = Integrity()
    with monkeypatch.context() as patch:
        patch.setattr(function, "__code__", other.__code__)
        assert integrity.broken() == named
    assert integrity.broken() is None


def test_what_was_taken_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    integrity = Integrity()
    monkeypatch.delattr(timing, "_now_ns")
    assert integrity.broken() == "attnbench.worker.timing._now_ns"


def test_nothing_is_named_after_an_honest_backend_was_measured() -> None:
    integrity = Integrity()
    asked = problem(mode="forward_backward")
    inputs = make_inputs(asked, device=torch.device("cpu"), seed=0)
    call = Call(Right(), asked, inputs)
    x = call.input(inputs.x)
    sampler = timing.sampler(call, torch.device("cpu"), None)
    sampler.warm_up(x, settle=True)
    sampler.take_turn(x, 0.0)
    gc.collect()
    assert integrity.broken() is None


def test_what_a_backend_may_set_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    integrity = Integrity()
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", other)
    monkeypatch.setattr(torch.Tensor, "softmax", other)
    monkeypatch.setattr(timing, "_of_no_meaning", other, raising=False)
    assert integrity.broken() is None
