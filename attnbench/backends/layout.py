"""Layout around attention by its definition: padding, roll, partition, reverse."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from attnbench.core.problem import Problem


def partition(x: Tensor, problem: Problem) -> Tensor:
    """Divide a map into windows, after padding it at the right and bottom and rolling it.

    Args:
        x: ``[batch, H, W, ...]``.
        problem: Gives the windows and the shift; its batch is not used.

    Returns:
        ``[batch * windows, tokens, ...]``, windows row by row.
    """
    rows, columns = problem.rows, problem.columns
    rest = x.shape[3:]
    if problem.padded:
        x = functional.pad(x, (0, 0) * len(rest) + (0, columns.padding, 0, rows.padding))
    if problem.shifted:
        x = x.roll((-rows.shift, -columns.shift), dims=(1, 2))
    x = x.view(-1, rows.windows, rows.window, columns.windows, columns.window, *rest)
    return x.transpose(2, 3).reshape(-1, problem.tokens, *rest)


def reverse(windows: Tensor, problem: Problem) -> Tensor:
    """Undo ``partition``: from ``[batch * windows, tokens, ...]`` back to ``[batch, H, W, ...]``."""
    rows, columns = problem.rows, problem.columns
    rest = windows.shape[2:]
    x = windows.reshape(-1, rows.windows, columns.windows, rows.window, columns.window, *rest)
    x = x.transpose(2, 3).reshape(-1, rows.padded, columns.padded, *rest)
    if problem.shifted:
        x = x.roll((rows.shift, columns.shift), dims=(1, 2))
    if problem.padded:
        x = x[:, : problem.height, : problem.width]
    return x
