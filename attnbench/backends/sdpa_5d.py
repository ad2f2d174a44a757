"""torch's SDPA on 5-D tensors: the slow path of several public models."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from attnbench.backends.base import Attend, Backend
from attnbench.backends.windows import score_bias
from attnbench.problem import Problem


@final
class Sdpa5d(Backend):
    """SDPA on ``[batch, windows, heads, tokens, head_dim]``, as timm's Twins, NesT and Hiera call it.

    Every fused kernel demands four dimensions, so torch silently runs its MATH kernel.
    """

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        added = score_bias(problem, device=device, bias=bias)

        def attend(qkv: Tensor) -> Tensor:
            images = qkv.unflatten(0, (-1, problem.windows))
            query, key, value = images.permute(3, 0, 1, 4, 2, 5)
            out = scaled_dot_product_attention(query, key, value, attn_mask=added())
            return out.transpose(2, 3).flatten(0, 1)

        return attend
