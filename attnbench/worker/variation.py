"""Inputs that change from turn to turn, and what they must give.

Attention mixes values with weights that do not depend on them, channel by channel. So if the values of a channel and
the gradient of that output channel change their sign, the output and the gradient of those values change theirs, and
nothing else changes: exactly, in every dtype. And whole images, whole rows of windows, or heads may change places, so
that queries and keys change, too. What these give follows from one reference, for every turn.

Whoever knows that could find out which change it was and apply it to an output of before. So a call is also timed on
inputs whose numbers have moved along the map: tokens, heads and channels are others then, and what they give has to be
computed. That costs a reference of its own, of one image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum, auto
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from attnbench.core.problem import Pattern, Problem, Scope
from attnbench.core.protocol import Variation, Verdict
from attnbench.worker.reference import BIAS_TABLE, INPUT, OUTPUT, Expectation, Inputs, map_of, windows_of

_VALUE = 2
"""Of query, key and value."""


class _Places(Enum):
    """What changes places."""

    IMAGES = auto()
    ROWS = auto()
    """Rows of windows."""
    HEADS = auto()


def rolls(problem: Problem) -> int:
    """By how many different amounts the inputs can be rolled: 1 where nothing can change places."""
    match _places(problem):
        case _Places.IMAGES:
            return problem.batch
        case _Places.ROWS:
            return problem.rows.windows
        case _Places.HEADS:
            return problem.heads


def vary_input(problem: Problem, x: Tensor, variation: Variation, since: Variation) -> None:
    """Change an input in place.

    Args:
        problem: What is computed from it.
        x: The input as ``since`` left it.
        variation: What it shall be.
        since: What it is.
    """
    _change(problem, {INPUT: x}, variation, since)


def vary_rest(
    problem: Problem, inputs: Inputs, variation: Variation, since: Variation, *, gradient: bool = True
) -> None:
    """Change parameters and the output's gradient in place, as ``vary_input`` does the input.

    Args:
        problem: What is computed from them.
        inputs: As ``since`` left them.
        variation: What they shall be.
        since: What they are.
        gradient: Whether the output's gradient is among them; without autograd nobody reads it.
    """
    # The gradient of an output has its shape, and changes as it does.
    given = {OUTPUT: inputs.output_gradient} if gradient else {}
    _change(problem, {**given, **inputs.parameters}, variation, since)


class OneImage:
    """What one image must give once the map has moved.

    Args:
        expectation: Of the plain inputs.
        variation: By how much it moves.
        image: Which one. Of one out of several, no gradient of a parameter is known.
    """

    def __init__(self, expectation: Expectation, variation: Variation, *, image: int) -> None:
        problem, plain = expectation.problem, expectation.inputs
        self._ignored = frozenset(plain.parameters if problem.batch > 1 else ())
        each = problem.windows if problem.scope is Scope.WINDOWS else 1
        self._rows = slice(image * each, (image + 1) * each)
        moved = {INPUT: plain.x.clone(), OUTPUT: plain.output_gradient.clone()}
        _move(problem, moved, variation.move)
        x, output_gradient = (moved[name][self._rows].clone() for name in (INPUT, OUTPUT))
        inputs = Inputs(x=x, parameters=plain.parameters, output_gradient=output_gradient)
        self._expectation = Expectation(replace(problem, batch=1), inputs)

    @property
    def size(self) -> int:
        """Bytes."""
        return self._expectation.size

    def verdict(self, found: Mapping[str, Tensor], *, timed: bool) -> Verdict:
        """Compare what a call gave, of the right shapes, with the reference.

        Args:
            found: By name, the output and, in mode forward_backward, every gradient.
            timed: Whether it was timed.
        """
        own = {name: value[self._rows] if name in (INPUT, OUTPUT) else value for name, value in found.items()}
        return self._expectation.verdict(own, timed=timed, ignored=self._ignored)


def restored(problem: Problem, found: Mapping[str, Tensor], variation: Variation) -> dict[str, Tensor]:
    """Outputs and gradients as they would be for the plain inputs.

    Args:
        problem: What was computed.
        found: Output and gradients by name, shaped as the problem says.
        variation: Of the inputs.
    """
    tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in found.items()}
    _sign(problem, tensors, _signs(problem, variation.signs))
    _roll(problem, tensors, -variation.roll)
    return tensors


def _change(problem: Problem, tensors: Mapping[str, Tensor], variation: Variation, since: Variation) -> None:
    _move(problem, tensors, -since.move)
    before, after = _signs(problem, since.signs), _signs(problem, variation.signs)
    roll = variation.roll - since.roll
    if roll:
        _roll(problem, tensors, roll)
        if _places(problem) is _Places.HEADS:  # the signs go with them
            before = before.view(problem.heads, -1).roll(roll, 0).view(-1)
    _sign(problem, tensors, before * after)
    _move(problem, tensors, variation.move)


def _move(problem: Problem, tensors: Mapping[str, Tensor], amount: int) -> None:
    """Roll the numbers of the map as if it were one row of them, in place."""
    if not amount:
        return
    in_windows = problem.scope is Scope.WINDOWS
    for name in (INPUT, OUTPUT):
        if name in tensors:
            on_map = map_of(tensors[name], problem) if in_windows else tensors[name]
            moved = on_map.reshape(-1).roll(amount).view(on_map.shape)
            tensors[name].copy_(windows_of(moved, problem) if in_windows else moved)


def _places(problem: Problem) -> _Places:
    if problem.batch > 1:
        return _Places.IMAGES
    # Rows of windows are alike only where none is padded or at an edge of the shift.
    alike = problem.pattern is Pattern.GROUPED and not problem.padded
    return _Places.ROWS if alike and problem.rows.windows > 1 else _Places.HEADS


@lru_cache(maxsize=64)
def _signs(problem: Problem, seed: int) -> Tensor:
    """``[heads * head_dim]``, 1 or -1; for seed 0 all 1."""
    if not seed:
        return torch.ones(problem.channels, dtype=torch.long)
    drawn = torch.randint(2, (problem.channels,), generator=torch.Generator().manual_seed(seed))
    return drawn.mul_(2).sub_(1)


def _sign(problem: Problem, tensors: Mapping[str, Tensor], signs: Tensor) -> None:
    """Change the signs of channels of the values, and of what changes with them, in place."""
    if bool((signs == 1).all()):
        return
    channels, heads = problem.channels, (problem.heads, problem.head_dim)
    values = slice(_VALUE * channels, None)
    parts: dict[str, tuple[Any, tuple[int, ...]]] = {
        INPUT: ((..., _VALUE, slice(None), slice(None)), heads),
        OUTPUT: ((...,), heads),
    }
    if problem.scope is Scope.LAYER:
        # The projections before and after the values change together: a layer's output stays what it was.
        parts = {
            "qkv.weight": ((values,), (channels, 1)),
            "qkv.bias": ((values,), (channels,)),
            "proj.weight": ((...,), (1, channels)),
        }
    for name, (index, shape) in parts.items():
        if name in tensors:
            x = tensors[name]
            x[index].mul_(signs.to(device=x.device, dtype=x.dtype).view(shape))


def _roll(problem: Problem, tensors: Mapping[str, Tensor], roll: int) -> None:
    """Let images, rows of windows, or heads change places, in place."""
    if not roll:
        return
    places = _places(problem)
    if places is not _Places.HEADS:
        amount, dim = (roll, 0) if places is _Places.IMAGES else (roll * problem.window_height, 1)
        if problem.scope is Scope.WINDOWS:
            amount, dim = roll * (problem.windows if places is _Places.IMAGES else problem.columns.windows), 0
        for name in (INPUT, OUTPUT):
            if name in tensors:
                tensors[name].copy_(tensors[name].roll(amount, dim))
        return
    packed, each = (3, problem.heads, problem.head_dim), (problem.heads, problem.head_dim)
    shapes: dict[str, tuple[tuple[int, ...], int]] = {BIAS_TABLE: ((-1, problem.heads), 1)}
    if problem.scope is Scope.LAYER:
        shapes |= {"qkv.weight": ((*packed, -1), 1), "qkv.bias": (packed, 1), "proj.weight": ((-1, *each), 1)}
    else:
        shapes |= {INPUT: ((-1, *packed), 2), OUTPUT: ((-1, *each), 1)}
    for name, (shape, dim) in shapes.items():
        if name in tensors:
            x = tensors[name]
            x.copy_(x.reshape(shape).roll(roll, dim).reshape(x.shape))
