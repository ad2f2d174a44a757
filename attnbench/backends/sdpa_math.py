"""torch's SDPA pinned to its unfused kernel."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

from attnbench.backends.base import Attend, Backend
from attnbench.backends.dot_product import prepare_sdpa
from attnbench.problem import Problem


@final
class SdpaMath(Backend):
    """SDPA's MATH kernel, which computes anything, and half precision in single precision."""

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        return prepare_sdpa(problem, device=device, bias=bias, kernel=SDPBackend.MATH)
