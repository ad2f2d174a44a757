"""The problems on which adapters are compared with the reference, and the comparison a worker makes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import pytest
import torch

from attnbench.backends.base import Backend, DeviceFacts, effective
from attnbench.core.problem import Bias, Dtype, Mode, Padding, Pattern, Problem, Scope
from attnbench.worker.call import Call
from attnbench.worker.reference import Expectation

CPU, HOPPER = DeviceFacts(type="cpu"), DeviceFacts(type="cuda", capability=(9, 0))
PADDED = Problem(batch=2, height=5, width=7, window_height=2, window_width=3, heads=2, head_dim=16)
"""A map that its windows divide along neither side."""
MAPS = (
    # windows divide the map; several images
    Problem(batch=2, height=6, width=4, window_height=3, window_width=2, heads=2, head_dim=8),
    # windows of 8 tokens, a multiple of every alignment; one image
    Problem(batch=1, height=4, width=8, window_height=2, window_width=4, heads=3, head_dim=8),
    PADDED,
    # padded along one side, the other covered by one window; one image, one head
    Problem(batch=1, height=4, width=5, window_height=4, window_width=3, heads=1, head_dim=8),
    # one window: global attention
    Problem(batch=1, height=3, width=3, window_height=3, window_width=3, heads=2, head_dim=8),
)


def _problems() -> list[Problem]:
    found: list[Problem] = []
    for shape, dtype, mode, pattern, bias, scope in product(MAPS, Dtype, Mode, Pattern, Bias, Scope):
        if dtype is Dtype.BFLOAT16 and shape is not PADDED:
            continue  # the code for it is that for float16
        problem = replace(shape, dtype=dtype, mode=mode, pattern=pattern, bias=bias, scope=scope)
        # Without padded tokens the two paddings are one.
        paddings = list(Padding) if problem.padded else [Padding.ZERO]
        found.extend(replace(problem, padding=padding) for padding in paddings)
    return found


PROBLEMS = _problems()


def hides_tokens(problem: Problem) -> bool:
    """Whether some token of a window must not see some other."""
    rolled = problem.pattern is Pattern.SHIFTED and problem.window != problem.resolution
    return rolled or (problem.padded and problem.padding is Padding.MASKED)


def as_parameters(problems: list[Problem]) -> pytest.MarkDecorator:
    """Run a test once for every problem."""
    return pytest.mark.parametrize("problem", problems, ids=[problem.label for problem in problems])


@cache
def _expectation(problem: Problem) -> Expectation:
    return Expectation.seeded(problem, device=torch.device("cpu"), seed=0)


def disagreement(backend: Backend, problem: Problem) -> str:
    """Why a worker would refuse what ``backend`` computes; empty where it would not."""
    problem = effective(problem, backend)
    expectation = _expectation(problem)
    call = Call(backend, problem, expectation.inputs)
    x = call.input(expectation.inputs.x.clone())
    verdict = expectation.verdict(call.outcome(x).tensors)
    if verdict.reason:
        return verdict.reason
    return "" if torch.equal(x, expectation.inputs.x) else "the input was modified in place"


def towers(windows: int, *, images: int, window: int = 2) -> Problem:
    """Maps one token wide, each of ``windows`` windows one above the other: the smallest way to have many."""
    return Problem(
        batch=images,
        height=windows * window,
        width=1,
        window_height=window,
        window_width=1,
        heads=1,
        head_dim=8,
        dtype=Dtype.FLOAT16,
    )
