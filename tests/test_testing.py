"""check_backend finds what is wrong, and passes what is right."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from attnbench.backends import registry
from attnbench.backends.base import Backend
from attnbench.core.errors import UsageError
from attnbench.core.problem import Dtype, Padding, Problem, Scope
from attnbench.testing import Disagreement, check_backend, sample_problems
from attnbench.worker.reference import Expectation
from tests import faults

SEEDED = cache(Expectation.seeded)
"""What is expected is the same of every backend."""
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def samples(scope: Scope, device: str) -> list[Problem]:
    """All of a scope; on a CPU, half precision on one map, for it is slow, and one padding of what is not padded."""
    found = [problem for problem in sample_problems() if problem.scope is scope]
    if device != "cpu":
        return found
    differing = [problem for problem in found if problem.padded or problem.padding is Padding.ZERO]
    return [problem for problem in differing if problem.dtype is Dtype.FLOAT32 or problem.resolution == "16x15"]


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), pytest.param(7, id="seventh")])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("name", registry.names())
def test_every_backend_agrees_with_the_reference_on_every_problem_it_supports(
    name: str, scope: Scope, device: str, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Expectation, "seeded", SEEDED)
    backend = registry.load(name)
    if reason := backend.unavailable(device):
        pytest.skip(reason)
    problems = samples(scope, device)[::every]  # 7 divides no field's number of values
    assert check_backend(backend, problems=problems, device=device) >= len(problems) // 16


def test_a_backend_of_the_whole_map_is_checked_at_map_and_layer() -> None:
    assert check_backend(faults.OnMap, device="cpu") > 50


@pytest.mark.parametrize(
    ("backend", "sentence"),
    [
        (faults.WrongResult, "output is off by"),
        (faults.WrongGradient, "gradient of input is off by"),
        (faults.WrongShape, r"output of shape \(8, 49, 32\) \(allowed: \(8, 49, 2, 16\)\)"),
        (faults.WrongDtype, r"output of dtype torch.float64 \(allowed: float32\)"),
        (faults.NotANumber, "output holds NaN"),
        (faults.ModifiesInput, "the input was modified in place"),
        (faults.ReusesOutput, "the first output changed when the function was called again"),
        (faults.RemembersFirst, "for a second input, output is off by"),
        (faults.WrongLater, "WrongLater on .* off by"),
        (faults.Raises, "Raises on b2 14x14 w7 h2 d16 float32 windows: raised RuntimeError: no kernel"),
        (faults.IgnoresPadding, "IgnoresPadding on b2 16x15 w7 h2 d16 float32 masked"),
    ],
)
def test_what_is_wrong_is_named(backend: type[Backend], sentence: str) -> None:
    problems = [problem for problem in sample_problems() if problem.scope is Scope.WINDOWS]
    with pytest.raises(Disagreement, match=sentence):
        check_backend(backend, problems=problems, device="cpu")


def test_a_right_backend_tells_how_many_problems_it_was_checked_on() -> None:
    windows = [problem for problem in sample_problems() if problem.scope is Scope.WINDOWS and not problem.masked]
    supported = [problem for problem in windows if problem.bias == "none"]
    assert check_backend(faults.Right, problems=windows, device=torch.device("cpu")) == len(supported)


@pytest.mark.parametrize(
    ("backend", "sentence"),
    [
        (faults.Unavailable, "Unavailable cannot be checked on cpu: faults are not installed"),
        (faults.Unsupported, "Unsupported supports none of the problems on cpu"),
    ],
)
def test_nothing_checked_is_not_a_pass(backend: type[Backend], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        check_backend(backend, device="cpu")
