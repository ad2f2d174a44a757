"""For authors of backends, in this package or any other: is what a backend computes right?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

import torch

from attnbench.backends.base import Backend, DeviceFacts, effective, refusals
from attnbench.core.errors import UsageError
from attnbench.core.problem import Bias, Dtype, Mode, Padding, Pattern, Problem, Scope
from attnbench.core.protocol import Variation
from attnbench.worker.call import Call
from attnbench.worker.environment import resolve_device
from attnbench.worker.reference import Expectation
from attnbench.worker.variation import OneImage, restored, rolls, vary_input, vary_rest

_GEOMETRIES = (
    (14, 14, 7, 7),  # windows divide the map
    (16, 15, 7, 7),  # they divide neither side
    (9, 20, 4, 7),  # rectangular map and window
    (8, 8, 8, 8),  # one window: global attention
    (6, 5, 1, 5),  # windows of one row
)


class Disagreement(AssertionError):
    """A backend does not compute what its problem defines."""


def sample_problems(*, heads: int = 2, head_dim: int = 16) -> Iterator[Problem]:
    """A small problem for every combination of fields, over five geometries."""
    fields = product(_GEOMETRIES, Scope, Pattern, Padding, Bias, Mode, Dtype)
    for (height, width, window_height, window_width), scope, pattern, padding, bias, mode, dtype in fields:
        yield Problem(
            batch=2,
            height=height,
            width=width,
            window_height=window_height,
            window_width=window_width,
            heads=heads,
            head_dim=head_dim,
            dtype=dtype,
            mode=mode,
            pattern=pattern,
            padding=padding,
            bias=bias,
            scope=scope,
        )


def check_backend(
    backend: type[Backend], *, problems: Iterable[Problem] | None = None, device: str | torch.device | None = None
) -> int:
    """Compare a backend with the float64 reference on every problem it supports.

    Args:
        backend: The class, not an instance.
        problems: What to check; by default ``sample_problems()``.
        device: Where; by default the GPU where there is one and the backend is available on it, else the CPU.

    Returns:
        How many problems were checked.

    Raises:
        Disagreement: The first disagreement: a wrong result or gradient, an input modified in place, or another
            output for the same input.
        UsageError: The backend is not available on the device, or supports none of the problems.
    """
    if not isinstance(backend, type):
        raise UsageError(f"check_backend takes the class of a backend, got {backend!r}")
    where = _default_device(backend) if device is None else resolve_device(str(device))
    if reason := backend.unavailable(where.type):
        raise UsageError(f"{backend.__name__} cannot be checked on {where}: {reason}")
    instance = backend()
    checked = 0
    for asked in sample_problems() if problems is None else problems:
        problem = effective(asked, instance)
        if refusals(instance, problem, DeviceFacts.of(where)):
            continue
        check_problem(instance, problem, where)
        checked += 1
    if not checked:
        raise UsageError(f"{backend.__name__} supports none of the problems on {where}: nothing was checked")
    return checked


def check_problem(backend: Backend, problem: Problem, device: torch.device) -> None:
    """Compare a backend with the float64 reference on one problem it supports.

    Raises:
        Disagreement: It computes something else.
    """
    who = f"{type(backend).__name__} on {problem.label}"
    expectation = Expectation.seeded(problem, device=device, seed=0)
    try:
        reason = _disagreement(Call(backend, problem, expectation.inputs), expectation)
    except Exception as error:
        raise Disagreement(f"{who}: raised {type(error).__name__}: {error}") from error
    if reason:
        raise Disagreement(f"{who}: {reason}")


def _disagreement(call: Call, expectation: Expectation) -> str:
    """What is wrong with a call: its outcome, or that it is no function of its input alone."""
    problem, plain = expectation.problem, Variation()
    x = call.input(expectation.inputs.x.clone())
    first = call.outcome(x).tensors
    if reason := expectation.verdict(first).reason:
        return reason
    if not torch.equal(x, expectation.inputs.x):
        return "the input was modified in place"
    varied = [Variation(signs=number, roll=number % rolls(problem)) for number in (1, 2)]
    for variation in (*varied, Variation(move=problem.channels + 1)):
        expected = expectation.inputs.x.clone()
        vary_input(problem, expected, variation, plain)
        vary_input(problem, x.detach(), variation, plain)
        vary_rest(problem, call.rest(x), variation, plain)
        again = call.outcome(x).tensors
        if variation.move:
            verdict = OneImage(expectation, variation, image=0).verdict(again, timed=False)
        else:
            verdict = expectation.verdict(restored(problem, again, variation))
        if verdict.reason:
            return f"for a second input, {verdict.reason}"
        if not torch.equal(x, expected):
            return "the input was modified in place"
        if expectation.verdict(first).reason:
            return "the first output changed when the function was called again"
        vary_input(problem, x.detach(), plain, variation)
        vary_rest(problem, call.rest(x), plain, variation)
    return ""


def _default_device(backend: type[Backend]) -> torch.device:
    on_gpu = torch.cuda.is_available() and backend.unavailable("cuda") is None
    return torch.device("cuda" if on_gpu else "cpu")
