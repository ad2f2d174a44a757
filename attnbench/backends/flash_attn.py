"""flash-attn 2 (Dao 2023) on windows as its batch."""

from __future__ import annotations

from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from attnbench.backends.base import Attend, Backend
from attnbench.backends.limits import GRID_LIMIT, half_precision, head_dim, missing, no_bias, too_old
from attnbench.backends.masks import token_regions
from attnbench.backends.windows import prepare_order
from attnbench.core.problem import Problem


@final
class FlashAttn(Backend):
    """``flash_attn_qkvpacked_func`` on the packed windows as they are, or its variable-length sibling.

    Where some token must not see some other (shifted, or masked padding), the regions of every window become
    sequences of their own, so that no mask is needed. More sequences than CUDA's grid takes are computed in several
    calls.
    """

    @classmethod
    def unavailable(cls, device_type: str) -> str | None:
        install = "pip install --no-build-isolation flash-attn"
        if reason := missing("flash_attn.flash_attn_interface", install=install, device_type=device_type):
            return reason
        return too_old("flash_attn")

    def unsupported(self, problem: Problem) -> list[str]:
        return half_precision(problem) + head_dim(problem, most=256) + no_bias(problem)

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        return _prepare_regions(problem, device) if problem.masked else _prepare_windows(problem)


def _prepare_windows(problem: Problem) -> Attend:
    from flash_attn import flash_attn_qkvpacked_func

    scale = problem.head_dim**-0.5

    def attend(qkv: Tensor) -> Tensor:
        if qkv.shape[0] <= GRID_LIMIT:
            return flash_attn_qkvpacked_func(qkv=qkv, softmax_scale=scale)
        return torch.cat([flash_attn_qkvpacked_func(qkv=chunk, softmax_scale=scale) for chunk in qkv.split(GRID_LIMIT)])

    return attend


def _prepare_regions(problem: Problem, device: torch.device) -> Attend:
    from flash_attn import flash_attn_varlen_qkvpacked_func

    scale = problem.head_dim**-0.5
    order, lengths = _sequences(problem, device)
    into, back = prepare_order(problem, order)
    ends = [0, *lengths.cumsum(0).tolist()]
    # (first token, last token, offsets of its sequences, longest sequence) of every call
    calls = []
    starts = [*range(0, len(lengths), GRID_LIMIT), len(lengths)]
    for first, last in pairwise(starts):
        offsets = torch.tensor(ends[first : last + 1], dtype=torch.int32, device=device) - ends[first]
        calls.append((ends[first], ends[last], offsets.to(torch.int32), int(lengths[first:last].max())))

    def attend(qkv: Tensor) -> Tensor:
        ordered = into(qkv.flatten(0, 1))
        outputs = [
            flash_attn_varlen_qkvpacked_func(
                qkv=ordered[begin:end], cu_seqlens=offsets, max_seqlen=longest, softmax_scale=scale
            )
            for begin, end, offsets, longest in calls
        ]
        out = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return back(out).view(*qkv.shape[:2], *out.shape[1:])

    return attend


def _sequences(problem: Problem, device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens of the whole batch region by region, and the regions' lengths.

    Returns:
        Indexes into ``[batch * windows * tokens]``, without padded tokens where they are masked; and on the CPU the
        number of tokens of every sequence.
    """
    regions, real = token_regions(problem, device)
    taken = real if problem.hides_padding else torch.ones_like(real)
    window = torch.arange(problem.windows, device=device)[:, None]
    sequence = (4 * window + regions)[taken]
    image_order = taken.flatten().nonzero().squeeze(1)[sequence.argsort(stable=True)]
    image_lengths = sequence.unique(return_counts=True)[1].cpu()
    images = torch.arange(problem.batch, device=device)[:, None] * problem.windows * problem.tokens
    return (images + image_order).flatten(), image_lengths.repeat(problem.batch)
