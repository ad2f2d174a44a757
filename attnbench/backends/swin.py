"""Shifted windows the way Swin's authors published them (Liu et al. 2021, section 3.2, and their code)."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor

from attnbench.backends.base import Attend, Backend
from attnbench.backends.masks import relative_bias, score_mask
from attnbench.core.problem import Pattern, Problem

_HIDDEN = -100.0
"""What the authors add between regions."""


@final
class Swin(Backend):
    """Always the shifted pattern, by rolling the map; the mask is added to all images' scores through a 5-D view."""

    pattern: ClassVar[Pattern | None] = Pattern.SHIFTED
    rolls: ClassVar[bool] = True

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        relative = relative_bias(problem, device=device, bias=bias)
        mask = score_mask(problem, device=device, hidden=_HIDDEN)
        scale = problem.head_dim**-0.5

        def attend(qkv: Tensor) -> Tensor:
            query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
            scores = (query * scale) @ key.transpose(-2, -1)
            if (term := relative()) is not None:
                scores = scores + term
            if mask is not None:
                scores = (scores.view(-1, problem.windows, *scores.shape[1:]) + mask).view(scores.shape)
            return (scores.softmax(dim=-1) @ value).transpose(1, 2)

        return attend
