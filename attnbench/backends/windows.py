"""From a map to its windows and back, prepared for one problem: every token is copied once each way.

The layout is inside every timed call at scopes ``map`` and ``layer``, so it must cost what copying costs. Where windows
are only cut out of the map (grouped, and they divide it), one strided copy makes them, whatever strides a kernel left.
A roll and padded tokens would take further copies of everything; there, tokens are gathered by an index that was made
beforehand. ``tests/benchmarks/layout.py`` compares both with a plain copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from attnbench.backends.layout import partition, reverse
from attnbench.core.problem import Problem


@final
@dataclass(frozen=True, kw_only=True)
class Layout:
    """The way from a map to its windows and back."""

    partition: Callable[[Tensor], Tensor]
    """``[batch, H, W, ...]`` to ``[batch * windows, tokens, ...]``; padded tokens are zero."""
    reverse: Callable[[Tensor], Tensor]
    """``[batch * windows, tokens, ...]`` to ``[batch, H, W, ...]``."""
    held_bytes: int = 0
    """Of what it keeps between calls."""


def published_layout(problem: Problem) -> Layout:
    """Pad, roll, view and copy in every call, as Swin's authors do (Liu et al. 2021, section 3.2, and their code)."""
    return Layout(partition=partial(partition, problem=problem), reverse=partial(reverse, problem=problem))


def prepare_layout(problem: Problem, *, device: torch.device) -> Layout:
    """The layout that backends share.

    Args:
        problem: Gives the batch, the windows and the shift.
        device: Where the maps will lie.
    """
    return _gathered(problem, device) if problem.shifted or problem.padded else _strided(problem)


def _strided(problem: Problem) -> Layout:
    """One copy of a view each way; none at all where one window covers the map."""
    rows, columns = problem.rows, problem.columns
    on_map = (problem.batch, rows.windows, rows.window, columns.windows, columns.window)
    in_windows = (problem.batch, rows.windows, columns.windows, rows.window, columns.window)
    area = (problem.batch, problem.height, problem.width)
    packed = (problem.batch * problem.windows, problem.tokens)

    # Shapes are unpacked, not added: that takes as long as a small copy.
    def to_windows(x: Tensor) -> Tensor:
        rest = x.shape[3:]
        return x.view(*on_map, *rest).transpose(2, 3).reshape(*packed, *rest)

    def to_map(windows: Tensor) -> Tensor:
        rest = windows.shape[2:]
        return windows.view(*in_windows, *rest).transpose(2, 3).reshape(*area, *rest)

    return Layout(partition=to_windows, reverse=to_map)


def _gathered(problem: Problem, device: torch.device) -> Layout:
    area = (problem.batch, problem.height, problem.width)
    packed = (problem.batch * problem.windows, problem.tokens)
    # The definition moves numbers as it moves tokens; 0 is what it pads with.
    numbers = torch.arange(1, 1 + math.prod(area)).view(area)
    into = _move(area, packed, partition(numbers, problem) - 1, device)
    back = _move(packed, area, reverse(torch.arange(math.prod(packed)).view(packed), problem), device)
    return Layout(
        partition=partial(_gather, move=into, inverse=back),
        reverse=partial(_gather, move=back, inverse=into),
        held_bytes=into.held_bytes + back.held_bytes,
    )


@dataclass(frozen=True, kw_only=True)
class _Move:
    """Where every token of a result comes from."""

    sides: int
    """Leading sides of what tokens are taken from."""
    count: int
    """Tokens there."""
    result: tuple[int, ...]
    """Leading sides of what they become."""
    tokens: Tensor
    """By token of the result, the token of the source; anything where it is padded."""
    padded: Tensor | None
    """Tokens of the result that are zero; None where there are none."""

    @property
    def held_bytes(self) -> int:
        return self.tokens.nbytes + (0 if self.padded is None else self.padded.nbytes)

    def __call__(self, x: Tensor) -> Tensor:
        # A token is a row of hundreds of contiguous bytes. On a GPU, too, that should move near the bandwidth of a
        # copy, in one kernel without synchronization, so that a CUDA graph can hold it.
        taken = x.reshape(self.count, -1).index_select(0, self.tokens)
        if self.padded is not None:  # to take them from a row of zeros, all of x would have to be copied beside it
            taken.index_fill_(0, self.padded, 0)
        return taken.view(*self.result, *x.shape[self.sides :])


def _move(source: tuple[int, ...], result: tuple[int, ...], tokens: Tensor, device: torch.device) -> _Move:
    """A move by the token of the source for every one of the result, -1 for a padded one."""
    tokens = tokens.flatten()
    padded = (tokens < 0).nonzero().flatten()
    return _Move(
        sides=len(source),
        count=math.prod(source),
        result=result,
        tokens=tokens.clamp(min=0).to(device),
        padded=padded.to(device) if len(padded) else None,
    )


class _Gather(torch.autograd.Function):
    """A move whose gradient is the inverse move: that of ``index_select`` would add row by row to zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, move: _Move, inverse: _Move) -> Tensor:
        ctx.move, ctx.inverse = move, inverse
        return move(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _gather(gradients[0], move=ctx.inverse, inverse=ctx.move), None, None


def _gather(x: Tensor, *, move: _Move, inverse: _Move) -> Tensor:
    # Without a gradient to compute there is no need to pay for a node of the graph.
    return _Gather.apply(x, move, inverse) if x.requires_grad else move(x)  # type: ignore[no-untyped-call]
