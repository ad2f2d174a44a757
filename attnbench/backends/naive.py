"""Attention as it is written down: scores, softmax, weighted sum, each a tensor of its own."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from attnbench.backends.base import Attend, Backend
from attnbench.backends.masks import score_bias
from attnbench.core.problem import Problem


@final
class Naive(Backend):
    """Two matrix products with a softmax between, as in the published modules without fused attention."""

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        added = score_bias(problem, device=device, bias=bias)
        scale = problem.head_dim**-0.5

        def attend(qkv: Tensor) -> Tensor:
            query, key, value = qkv.permute(2, 0, 3, 1, 4)
            scores = (query * scale) @ key.transpose(-2, -1)
            if (term := added()) is not None:
                scores = (scores.unflatten(0, (-1, term.shape[0])) + term).flatten(0, 1)
            return (scores.softmax(dim=-1) @ value).transpose(1, 2)

        return attend
