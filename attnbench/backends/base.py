"""The contract every backend keeps, and how one is called on a whole map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, final

import torch
from torch import Tensor

from attnbench.backends.windows import Layout, prepare_layout, published_layout
from attnbench.core.problem import Bias, Padding, Pattern, Problem, Scope

Attend = Callable[[Tensor], Tensor]
"""From packed qkv to output: ``[..., 3, heads, head_dim]`` to ``[..., heads, head_dim]``."""


class Level(StrEnum):
    """What a backend is called with."""

    WINDOWS = "windows"
    """Packed windows ``[batch * windows, tokens, 3, heads, head_dim]``; the harness does the layout around it."""
    MAP = "map"
    """The whole packed map ``[batch, H, W, 3, heads, head_dim]``; the backend does padding, roll and windows."""


@dataclass(frozen=True, kw_only=True)
class DeviceFacts:
    """What a backend may need to know of a device."""

    type: str
    """``cpu`` or ``cuda``."""
    capability: tuple[int, int] | None = None
    """CUDA compute capability; None on a CPU, or where it is not known."""
    memory_bytes: int | None = None
    """Memory of a GPU; None on a CPU."""

    @classmethod
    def of(cls, device: torch.device) -> DeviceFacts:
        """The facts of a device of this machine."""
        if device.type != "cuda":
            return cls(type=device.type)
        found = torch.cuda.get_device_properties(device)
        return cls(type="cuda", capability=(found.major, found.minor), memory_bytes=found.total_memory)


class Backend(ABC):
    """One way of computing locally-grouped self-attention. Subclasses are final."""

    level: ClassVar[Level] = Level.WINDOWS
    pattern: ClassVar[Pattern | None] = None
    """Set where a backend always computes one pattern, whatever the case asks for."""
    rolls: ClassVar[bool] = False
    """Whether windows are made for it as published, by pad, roll and copy, and not by the layout that others share."""
    # Spelled out, so that a backend is not taken to compute what is added to these enumerations later.
    takes: ClassVar[Mapping[str, frozenset[StrEnum]]] = MappingProxyType({
        "pattern": frozenset({Pattern.GROUPED, Pattern.SHIFTED}),
        "padding": frozenset({Padding.ZERO, Padding.MASKED}),
        "bias": frozenset({Bias.NONE, Bias.RELATIVE}),
        "scope": frozenset({Scope.MAP, Scope.WINDOWS, Scope.LAYER}),
    })  # fmt: skip
    """By field of a problem, the values that it was written for. All others are unsupported."""

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

    def unsupported_on(self, problem: Problem, device: DeviceFacts) -> list[str]:
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


class WrongOutputError(ValueError):
    """A backend gave something that is no output, whatever its values are."""


def check_plain(output: object) -> None:
    """See that an output is a tensor like any other, computed when the call ends and not when somebody looks.

    Raises:
        WrongOutputError: It is not.
    """
    if type(output) is not Tensor:
        raise WrongOutputError(f"output is of type {type(output).__name__} (allowed: a plain torch.Tensor)")


def effective(problem: Problem, backend: type[Backend] | Backend) -> Problem:
    """The problem that the backend computes when given ``problem``: its own pattern, where it has one."""
    return problem if backend.pattern is None else replace(problem, pattern=backend.pattern)


def refusals(backend: Backend, problem: Problem, device: DeviceFacts) -> list[str]:
    """Every reason ``problem`` cannot be computed: what the backend does not take, and what it says itself."""
    unknown = []
    for field, allowed in backend.takes.items():
        value = getattr(problem, field)
        if value not in allowed:
            unknown.append(f"{field} {value} (allowed: {', '.join(sorted(allowed))})")
    if unknown:  # of these it knows nothing, so it has nothing to say
        return unknown
    reasons = backend.unsupported_on(problem, device)
    if not isinstance(reasons, list):
        raise TypeError(f"{type(backend).__name__}.unsupported gave {reasons!r}, not a list of reasons")
    if backend.level is Level.MAP and problem.scope is Scope.WINDOWS:
        reasons = [f"scope {problem.scope} (allowed: map, layer; it takes the whole map)", *reasons]
    return reasons


def layout_around(backend: Backend, problem: Problem, *, device: torch.device) -> Layout | None:
    """What the harness makes windows with for ``backend``; None where it takes the whole map."""
    if backend.level is Level.MAP:
        return None
    return published_layout(problem) if backend.rolls else prepare_layout(problem, device=device)


@final
@dataclass(frozen=True, kw_only=True)
class OnMap:
    """A prepared backend at scope ``map``.

    From ``[batch, H, W, 3, heads, head_dim]`` to ``[batch, H, W, heads, head_dim]``. Around a backend that knows
    windows only, padding, roll, partition and reverse are part of the call.
    """

    attend: Attend
    layout: Layout | None
    windows: tuple[int, int, int, int]
    """Shape of the output in windows."""

    @property
    def held_bytes(self) -> int:
        """What the harness keeps for it between calls, besides inputs."""
        return 0 if self.layout is None else self.layout.held_bytes

    def __call__(self, qkv: Tensor) -> Tensor:
        if self.layout is None:
            return self.attend(qkv)
        out = self.attend(self.layout.partition(qkv))
        check_plain(out)
        if out.shape != self.windows:
            raise WrongOutputError(f"output of shape {tuple(out.shape)} (allowed: {self.windows})")
        return self.layout.reverse(out)


def prepare_on_map(backend: Backend, problem: Problem, *, device: torch.device, bias: Tensor | None) -> OnMap:
    """Prepare ``backend`` for scope ``map``."""
    return OnMap(
        attend=backend.prepare(problem, device=device, bias=bias),
        layout=layout_around(backend, problem, device=device),
        windows=(problem.batch * problem.windows, problem.tokens, problem.heads, problem.head_dim),
    )
