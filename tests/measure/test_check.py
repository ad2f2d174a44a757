"""A graph is right where its replays compute what the call computes; on a CPU, a function stands for the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from attnbench.backends import registry
from attnbench.measure.call import Call
from attnbench.measure.check import check_replay
from attnbench.oracle import Expectation
from attnbench.problem import Problem
from tests.samples import problem


def graph_of(call: Call, x: Tensor, *, scale: float = 1.0, runs: bool = True) -> Callable[[Tensor], Any]:
    """What capturing gives: the same tensors in every replay."""
    kept = call(x)
    tensors = kept if isinstance(kept, tuple) else (kept,)

    def replay(_: Tensor) -> Any:
        if runs:
            again = call(x)
            with torch.no_grad():
                for tensor, new in zip(tensors, again if isinstance(again, tuple) else (again,), strict=True):
                    tensor.copy_(scale * new)
        return kept

    return replay


@pytest.mark.parametrize(
    "asked", [problem(), problem(mode="forward_backward", bias="relative")], ids=["forward", "training"]
)
def test_replays_are_compared_with_the_reference(asked: Problem) -> None:
    expectation = Expectation(asked, device=torch.device("cpu"), seed=0)
    call = Call(registry.load("naive")(), asked, expectation.inputs)
    x = call.input(expectation.inputs.x.clone())
    with torch.inference_mode(not call.backward):
        assert check_replay(call, graph_of(call, x), expectation, x) == ""
        assert "is off by" in check_replay(call, graph_of(call, x, scale=1.01), expectation, x)
        assert "is off by" in check_replay(call, graph_of(call, x, runs=False), expectation, x), "stale values"
