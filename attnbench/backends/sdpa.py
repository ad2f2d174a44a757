"""torch's SDPA with whatever kernel torch picks."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from attnbench.backends.base import Attend, Backend
from attnbench.backends.dot_product import prepare_sdpa
from attnbench.problem import Problem


@final
class Sdpa(Backend):
    """SDPA on 4-D tensors, the choice of kernel left to torch; which one it chose stands in ``kernel``."""

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        return prepare_sdpa(problem, device=device, bias=bias)
