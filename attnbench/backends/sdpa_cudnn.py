"""torch's SDPA pinned to cuDNN's kernel."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

from attnbench.backends.base import Attend, Backend
from attnbench.backends.dot_product import (
    GRID_LIMIT,
    bias_gradient_reasons,
    grid_reasons,
    half_precision_reasons,
    prepare_sdpa,
    too_old,
)
from attnbench.problem import Problem

_ALIGNMENT = 8
_MAX_HEAD_DIM = 128
"""What every GPU allows; some take up to 256."""


@final
class SdpaCudnn(Backend):
    """cuDNN's fused attention: half precision; a mask, but no gradient for it."""

    @classmethod
    def unavailable(cls, device_type: str) -> str | None:
        if device_type != "cuda":
            return f"torch has no cuDNN kernel on {device_type} (allowed: cuda)"
        if not torch.backends.cudnn.is_available():
            return "this torch was built without cuDNN"
        return too_old("cuDNN's kernel")

    def unsupported(self, problem: Problem) -> list[str]:
        reasons = half_precision_reasons(problem) + bias_gradient_reasons(problem) + grid_reasons(problem)
        if problem.head_dim % _ALIGNMENT or problem.head_dim > _MAX_HEAD_DIM:
            reasons.append(f"head_dim {problem.head_dim} (allowed: multiples of {_ALIGNMENT} up to {_MAX_HEAD_DIM})")
        if problem.tokens == 1:
            reasons.append(f"window {problem.window} of one token (allowed: 2 tokens or more)")
        if problem.heads > GRID_LIMIT:
            reasons.append(f"heads {problem.heads} (allowed: up to {GRID_LIMIT})")
        return reasons

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        return prepare_sdpa(problem, device=device, bias=bias, kernel=SDPBackend.CUDNN_ATTENTION)
