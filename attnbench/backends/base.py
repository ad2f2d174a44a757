"""The contract every backend keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import StrEnum
from typing import ClassVar

import torch
from torch import Tensor

from attnbench.problem import Pattern, Problem

Attend = Callable[[Tensor], Tensor]
"""From packed qkv to output: ``[..., 3, heads, head_dim]`` to ``[..., heads, head_dim]``."""


class Level(StrEnum):
    """What a backend is called with."""

    WINDOWS = "windows"
    """Packed windows ``[batch * windows, tokens, 3, heads, head_dim]``; the harness does the layout around it."""
    MAP = "map"
    """The whole packed map ``[batch, H, W, 3, heads, head_dim]``; the backend does padding, roll and windows."""


class Backend(ABC):
    """One way of computing locally-grouped self-attention. Subclasses are final."""

    level: ClassVar[Level] = Level.WINDOWS
    pattern: ClassVar[Pattern | None] = None
    """Set where a backend always computes one pattern, whatever the case asks for."""

    @classmethod
    def unavailable(cls, device_type: str) -> str | None:  # noqa: ARG003 - the default is to run anywhere
        """Why this machine cannot run the backend at all ('... is not installed: pip install ...'), or None.

        Args:
            device_type: ``cpu`` or ``cuda``.
        """
        return None

    def unsupported(self, problem: Problem) -> list[str]:
        """Every reason the backend cannot compute ``problem``, each with the value and what is allowed."""
        return []

    def unsupported_on(self, problem: Problem, device_type: str) -> list[str]:
        """What the harness asks. Override it instead of ``unsupported`` where the answer depends on the device."""
        return self.unsupported(problem)

    @abstractmethod
    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        """Do all that is not to be timed and return the function from qkv to output that is.

        The function must be pure in its argument: it is called with different inputs and under autograd.

        Args:
            problem: A problem that ``unsupported`` has nothing against.
            device: Where the input will lie.
            bias: The relative position table ``[(2 k1 - 1) (2 k2 - 1), heads]`` exactly when ``problem.bias`` is
                relative. Gathering it belongs into the function returned, so that its gradient is computed there.
        """
