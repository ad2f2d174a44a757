"""From a map to its windows and back, prepared for one problem: every token is copied once each way.

The layout is inside every timed call at scopes ``map`` and ``layer``, so it must cost what copying costs. Where windows
are only cut out of the map (grouped, and they divide it), one strided copy makes them, whatever strides a kernel left.
A roll and padded tokens would take further copies of everything; there, tokens are gathered by an index that was made
beforehand. ``tests/benchmarks/layout.py`` compares both with a plain copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from attnbench.backends.layout import partition, reverse
from attnbench.core.problem import Axis, Problem


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
    """One ``index_select`` of tokens each way."""
    rows, columns = problem.rows, problem.columns
    area = (problem.batch, problem.height, problem.width)
    packed = (problem.batch * problem.windows, problem.tokens)
    # The definition moves numbers as it moves tokens. Where it pads, any token will do: it is overwritten.
    into = _Move(
        sides=3,
        count=math.prod(area),
        tokens=partition(torch.arange(math.prod(area)).view(area), problem).flatten().to(device),
        result=packed,
        in_windows=(problem.batch, rows.windows, columns.windows, rows.window, columns.window),
        padded=_padded(rows, columns),
    )
    back = _Move(
        sides=2,
        count=math.prod(packed),
        tokens=reverse(torch.arange(math.prod(packed)).view(packed), problem).flatten().to(device),
        result=area,
    )
    return Layout(
        partition=partial(_gather, move=into, inverse=back),
        reverse=partial(_gather, move=back, inverse=into),
        held_bytes=into.tokens.nbytes + back.tokens.nbytes,
    )


def prepare_order(problem: Problem, order: Tensor) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """The tokens of all windows in another order, and back.

    Args:
        problem: Gives the windows.
        order: Which of the ``batch * windows * tokens`` tokens come, one after the other; padded ones may be left out.

    Returns:
        From ``[batch * windows * tokens, ...]`` to ``[len(order), ...]``, and from there to the first shape, with
        zeros where tokens were left out. The gradient of each is the other.
    """
    rows, columns = problem.rows, problem.columns
    total = problem.batch * problem.windows * problem.tokens
    inverse = torch.zeros(total, dtype=torch.long, device=order.device)
    inverse[order] = torch.arange(len(order), device=order.device)
    into = _Move(sides=1, count=total, tokens=order, result=(len(order),))
    back = _Move(
        sides=1,
        count=len(order),
        tokens=inverse,
        result=(total,),
        in_windows=(problem.batch, rows.windows, columns.windows, rows.window, columns.window),
        padded=_padded(rows, columns) if len(order) < total else (),
    )
    return partial(_gather, move=into, inverse=back), partial(_gather, move=back, inverse=into)


def _padded(rows: Axis, columns: Axis) -> tuple[tuple[int | slice, ...], ...]:
    """Where ``[batch, rows of windows, windows of a row, k1, k2, ...]`` holds padded tokens; in some places twice."""
    whole = slice(None)
    down = [(whole, window, whole, tokens) for window, tokens in _padded_tokens(rows)]
    across = [(whole, whole, window, whole, tokens) for window, tokens in _padded_tokens(columns)]
    return (*down, *across)


def _padded_tokens(axis: Axis) -> Iterator[tuple[int, slice]]:
    """Every window with padded tokens along one side, and which they are: they follow one another."""
    real = axis.real()
    for window in range(axis.windows):
        found = [token for token in range(axis.window) if not real[window * axis.window + token]]
        if found:
            yield window, slice(found[0], found[-1] + 1)


@dataclass(frozen=True, kw_only=True)
class _Move:
    """Where every token of a result comes from."""

    sides: int
    """Leading sides of what tokens are taken from."""
    count: int
    """Tokens there."""
    tokens: Tensor
    """Which one of them every token of the result is."""
    result: tuple[int, ...]
    """Leading sides of the result."""
    in_windows: tuple[int, ...] = ()
    """The same sides, split for ``padded``."""
    padded: tuple[tuple[int | slice, ...], ...] = ()
    """Parts of the result that are zero."""

    def __call__(self, x: Tensor) -> Tensor:
        # A token is a row of hundreds of contiguous bytes. On a GPU, too, that should move near the bandwidth of a
        # copy, in one kernel without synchronization, so that a CUDA graph can hold it.
        taken = x.reshape(self.count, -1).index_select(0, self.tokens)
        if self.padded:
            # A row of zeros to take them from would need a copy of all of x to lie in, and on a CPU index_fill_ takes
            # several times as long for them as slices do.
            split = taken.view(*self.in_windows, -1)
            for part in self.padded:
                split[part].zero_()
        return taken.view(*self.result, *x.shape[self.sides :])


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
