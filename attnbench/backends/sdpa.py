"""torch's SDPA with whatever kernel torch picks."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from attnbench.backends.base import Attend, Backend
from attnbench.backends.dot_product import grid_reasons, half_precision_reasons, mask_reasons, prepare_sdpa
from attnbench.problem import Problem


@final
class Sdpa(Backend):
    """SDPA on 4-D tensors, the choice of kernel left to torch; which one it chose stands in ``kernel``."""

    def unsupported_on(self, problem: Problem, device_type: str) -> list[str]:
        # In half precision without a mask torch picks its flash kernel without looking at the grid's limit.
        picks_flash = not (half_precision_reasons(problem) or mask_reasons(problem))
        return grid_reasons(problem) if device_type == "cuda" and picks_flash else []

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        return prepare_sdpa(problem, device=device, bias=bias)
