"""Whether what a participant measures with is still what it was before a foreign module was imported."""

from __future__ import annotations

import builtins
import sys
import time
from types import FunctionType
from typing import Any

import torch

_OURS = (
    "attnbench.worker.",
    "attnbench.core.channel",
    "attnbench.core.files",
    "attnbench.core.protocol",
    "attnbench.backends.base",
    "attnbench.backends.layout",
    "attnbench.backends.masks",
    "attnbench.backends.windows",
    "attnbench.layer",
)
"""Modules that measure, or are part of every timed call."""
_CLOCKS = ("perf_counter_ns", "perf_counter", "monotonic_ns", "monotonic", "time_ns", "time", "clock_gettime")
_BUILTINS = ("range", "type", "isinstance", "len", "min", "max", "sum", "float", "int", "getattr", "zip", "all", "any")


_METHODS = (
    "clone", "contiguous", "copy_", "cpu", "data_ptr", "detach", "element_size", "is_conj", "is_neg", "mul_", "numel",
    "roll", "to",
)  # fmt: skip
"""By which inputs are changed and outputs handed on. All else of torch is a backend's own business."""


class Integrity:
    """Remembers every function of attnbench, and what they rest on, as it is now."""

    def __init__(self) -> None:
        self._known = [(owner, name, value, _code(value)) for owner, name, value in _watched()]

    def broken(self) -> str | None:
        """The name of something that was replaced since; None where nothing was."""
        for owner, name, value, code in self._known:
            now = vars(owner).get(name)
            if now is not value or _code(now) is not code:
                return f"{getattr(owner, '__name__', owner)}.{name}"
        return None


def _watched() -> list[tuple[Any, str, Any]]:
    found: list[tuple[Any, str, Any]] = [(time, name, getattr(time, name)) for name in _CLOCKS]
    found += [(builtins, name, getattr(builtins, name)) for name in _BUILTINS]
    found += [(torch.Tensor, name, vars(torch.Tensor).get(name)) for name in _METHODS]
    found += [(torch, "equal", torch.equal), (torch.cuda, "synchronize", torch.cuda.synchronize)]
    event = torch.cuda.Event
    found += [(event, name, vars(event).get(name)) for name in ("record", "elapsed_time", "synchronize")]
    modules = [module for name, module in sys.modules.items() if name.startswith(_OURS)]
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, FunctionType) or (name.startswith("_") and callable(value)):
                found.append((module, name, value))
            elif isinstance(value, type) and value.__module__ == module.__name__:
                found.append((module, name, value))
                methods = vars(value).items()
                found += [(value, method, body) for method, body in methods if isinstance(body, FunctionType)]
    return found


def _code(value: Any) -> Any:
    return value.__code__ if isinstance(value, FunctionType) else None
