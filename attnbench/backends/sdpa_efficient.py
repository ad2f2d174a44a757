"""torch's SDPA pinned to its memory-efficient kernel."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

from attnbench.backends.base import Attend, Backend
from attnbench.backends.dot_product import alignment_reasons, prepare_sdpa
from attnbench.problem import Problem


@final
class SdpaEfficient(Backend):
    """The CUTLASS kernel in torch: all dtypes, with mask and bias; it copies an unaligned mask on every call.

    It splits what exceeds CUDA's grid limit by itself.
    """

    @classmethod
    def unavailable(cls, device_type: str) -> str | None:
        if device_type != "cuda":
            return f"torch has no memory-efficient kernel on {device_type} (allowed: cuda)"
        return None

    def unsupported(self, problem: Problem) -> list[str]:
        return alignment_reasons(problem)

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        return prepare_sdpa(problem, device=device, bias=bias, kernel=SDPBackend.EFFICIENT_ATTENTION)
