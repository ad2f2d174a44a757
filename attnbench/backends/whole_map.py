"""Any backend as a function of the whole packed map."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from attnbench.backends.base import Attend, Backend, Level
from attnbench.backends.windows import partition, reverse
from attnbench.problem import Problem, Scope


class WrongOutputError(ValueError):
    """A backend gave something that is no output, whatever its values are."""


def check_plain(output: object) -> None:
    """See that an output is a tensor like any other, computed when the call ends and not when somebody looks.

    Raises:
        WrongOutputError: It is not.
    """
    if type(output) is not Tensor:
        raise WrongOutputError(f"output is of type {type(output).__name__} (allowed: a plain torch.Tensor)")


def effective(problem: Problem, backend: type[Backend] | Backend) -> Problem:
    """The problem that the backend computes when given ``problem``: its own pattern, where it has one."""
    return problem if backend.pattern is None else replace(problem, pattern=backend.pattern)


def refusals(backend: Backend, problem: Problem, device_type: str) -> list[str]:
    """Every reason ``problem`` cannot be computed: the backend's own, and that a map backend has no windows inside."""
    reasons = backend.unsupported_on(problem, device_type)
    if not isinstance(reasons, list):
        raise TypeError(f"{type(backend).__name__}.unsupported gave {reasons!r}, not a list of reasons")
    if backend.level is Level.MAP and problem.scope is Scope.WINDOWS:
        reasons = [f"scope {problem.scope} (allowed: map, layer; it takes the whole map)", *reasons]
    return reasons


def prepare_on_map(backend: Backend, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
    """Prepare ``backend`` for scope ``map``.

    Returns:
        A function from ``[batch, H, W, 3, heads, head_dim]`` to ``[batch, H, W, heads, head_dim]``. Around a backend
        that knows windows only, padding, roll, partition and reverse are part of it, the same code for all.
    """
    attend = backend.prepare(problem, device=device, bias=bias)
    if backend.level is Level.MAP:
        return attend

    windows = (problem.batch * problem.windows, problem.tokens, problem.heads, problem.head_dim)

    def on_map(qkv: Tensor) -> Tensor:
        out = attend(partition(qkv, problem))
        check_plain(out)
        if out.shape != windows:
            raise WrongOutputError(f"output of shape {tuple(out.shape)} (allowed: {windows})")
        return reverse(out, problem)

    return on_map
