"""torch's SDPA pinned to its flash kernel."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

from attnbench.backends.base import Attend, Backend
from attnbench.backends.dot_product import (
    bias_gradient_reasons,
    grid_reasons,
    half_precision_reasons,
    mask_reasons,
    prepare_sdpa,
    too_old,
)
from attnbench.problem import Problem

_MAX_HEAD_DIM = 256


@final
class SdpaFlash(Backend):
    """FlashAttention-2 inside torch on CUDA; on the CPU torch's one fused kernel, which also takes a mask."""

    @classmethod
    def unavailable(cls, device_type: str) -> str | None:
        return too_old("torch's flash kernel") if device_type == "cuda" else None

    def unsupported(self, problem: Problem) -> list[str]:
        return bias_gradient_reasons(problem)

    def unsupported_on(self, problem: Problem, device_type: str) -> list[str]:
        if device_type == "cpu":
            return self.unsupported(problem)
        reasons = half_precision_reasons(problem) + mask_reasons(problem) + grid_reasons(problem)
        if problem.head_dim > _MAX_HEAD_DIM:
            reasons.append(f"head_dim {problem.head_dim} (allowed: up to {_MAX_HEAD_DIM})")
        return reasons

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        return prepare_sdpa(problem, device=device, bias=bias, kernel=SDPBackend.FLASH_ATTENTION)
