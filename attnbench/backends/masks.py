"""What is added to the scores: masks of shifted and padded windows, and the relative position bias."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from attnbench.core.problem import Problem


def token_regions(problem: Problem, device: torch.device) -> tuple[Tensor, Tensor]:
    """Region of every token of one image's windows, and whether it is one of the map's own.

    Returns:
        Two tensors ``[windows, tokens]``: int64 regions, bool.
    """

    def windowed(values: Tensor) -> Tensor:
        rows, columns = problem.rows, problem.columns
        values = values.view(rows.windows, rows.window, columns.windows, columns.window)
        return values.transpose(1, 2).reshape(problem.windows, problem.tokens)

    row_regions, column_regions = torch.tensor(problem.rows.regions()), torch.tensor(problem.columns.regions())
    row_real, column_real = torch.tensor(problem.rows.real()), torch.tensor(problem.columns.real())
    regions = windowed(2 * row_regions[:, None] + column_regions[None, :])
    real = windowed(row_real[:, None] & column_real[None, :])
    return regions.to(device), real.to(device)


def score_mask(problem: Problem, *, device: torch.device, hidden: float = -math.inf) -> Tensor | None:
    """What to add to the scores so that no token sees what it must not.

    A padded token still sees its own region: its output is cropped, but a row without any key would be NaN.

    Returns:
        ``[windows, 1, tokens, tokens]`` of the problem's dtype, 0 or ``hidden``; None where all see all.
    """
    if not problem.masked:
        return None
    regions, real = token_regions(problem, device)
    visible = regions[:, :, None] == regions[:, None, :]
    if problem.hides_padding:
        visible &= real[:, None, :] | ~real[:, :, None]
    mask = torch.zeros(visible.shape, dtype=getattr(torch, problem.dtype), device=device)
    return mask.masked_fill_(~visible, hidden)[:, None]


def relative_position_index(window_height: int, window_width: int, *, device: torch.device) -> Tensor:
    """Row of the bias table for every pair of tokens of a window, in Swin's order (Liu et al. 2021, section 3.2).

    Returns:
        ``[tokens * tokens]``, query by query.
    """
    rows = torch.arange(window_height, device=device).repeat_interleave(window_width)
    columns = torch.arange(window_width, device=device).repeat(window_height)
    down = rows[:, None] - rows[None, :] + window_height - 1
    right = columns[:, None] - columns[None, :] + window_width - 1
    return (down * (2 * window_width - 1) + right).flatten()


def relative_bias(problem: Problem, *, device: torch.device, bias: Tensor | None) -> Callable[[], Tensor | None]:
    """Prepare the gathering of the relative position bias.

    Returns:
        A function for the timed call, giving ``[1, heads, tokens, tokens]``, or None where there is no bias.
    """
    if bias is None:
        return lambda: None
    index = relative_position_index(problem.window_height, problem.window_width, device=device)
    shape = (1, problem.tokens, problem.tokens, problem.heads)
    # Gathered, the heads lie last; GPU kernels take a mask only if its last dimension has stride 1.
    return lambda: bias[index].view(shape).permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format)


def score_bias(problem: Problem, *, device: torch.device, bias: Tensor | None) -> Callable[[], Tensor | None]:
    """Prepare all that is added to the scores: the relative position bias and the mask.

    Returns:
        A function for the timed call, giving ``[windows or 1, heads or 1, tokens, tokens]``, or None where there is
        nothing to add.
    """
    mask = score_mask(problem, device=device)
    relative = relative_bias(problem, device=device, bias=bias)

    def added() -> Tensor | None:
        gathered = relative()
        if gathered is None or mask is None:
            return mask if gathered is None else gathered
        return gathered + mask

    return added


def window_bias(
    problem: Problem, *, device: torch.device, bias: Tensor | None, alignment: int = 1
) -> Callable[[], Tensor | None]:
    """Prepare ``score_bias`` for kernels that know windows only as their batch.

    Args:
        problem: What to compute.
        device: Where.
        bias: The relative position table, or None.
        alignment: The result is a slice of rows whose length is a multiple of this many elements.

    Returns:
        A function for the timed call, giving ``[batch * windows or 1, heads or 1, tokens, tokens]`` or None. What is
        the same for all is left to broadcasting: torch pads an unaligned mask, and should pad it once.
    """
    added = score_bias(problem, device=device, bias=bias)

    def repeated() -> Tensor | None:
        term = added()
        if term is None:
            return None
        if padding := -problem.tokens % alignment:
            term = functional.pad(term, (0, padding))
        if term.shape[0] > 1:
            term = term.expand(problem.batch, *term.shape).flatten(0, 1)
        return term[..., : problem.tokens]

    if bias is not None:
        return repeated
    constant = repeated()  # a mask alone never changes: make it once, not in every call
    return lambda: constant
