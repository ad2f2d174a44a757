"""Backends whose behaviour is known: how long they take, or how they fail. ``attnbench verify`` measures them."""

from __future__ import annotations

import ctypes
import math
import signal
import subprocess
import sys
import time
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from attnbench.backends.base import Attend, Backend
from attnbench.core.problem import Problem

KNOWN_MS = 5.0
"""What one call of ``KnownTime`` takes."""
SLOWER = 1.05
"""What one of ``Slower`` takes, as a multiple of that."""
LEFT_BEHIND = "attnbench-verify-left-behind"
"""An argument of the process that ``LeavesAProcess`` starts."""
_CYCLES = 20_000_000
_IMPOSSIBLE_BYTES = 2**50


class Subject(Backend):
    """Right and quick, unless a subclass says otherwise."""

    def unsupported(self, problem: Problem) -> list[str]:
        return ["needs a mask or a bias (allowed: neither)"] if problem.masked or problem.has_bias else []

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        self.began(device)
        return self.attend

    def began(self, device: torch.device) -> None:
        """Before the first call."""

    def attend(self, qkv: Tensor) -> Tensor:
        """Attention inside windows: from ``[windows, tokens, 3, heads, head_dim]`` to what is left without the 3."""
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        return scaled_dot_product_attention(query, key, value).transpose(1, 2)


class KnownTime(Subject):
    """Waits until a call has taken so long: on a CPU by a clock that no time service adjusts.

    On a GPU it keeps the device busy for as many cycles as take so long by the host's clock.
    """

    factor: ClassVar[float] = 1.0

    def began(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        if self._on_gpu:
            torch.cuda._sleep(_CYCLES)  # noqa: SLF001
            torch.cuda.synchronize(device)
            began = time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
            torch.cuda._sleep(_CYCLES)  # noqa: SLF001
            torch.cuda.synchronize(device)
            took_s = time.clock_gettime(time.CLOCK_MONOTONIC_RAW) - began
            self._cycles = round(_CYCLES * self.factor * KNOWN_MS / 1e3 / took_s)

    def attend(self, qkv: Tensor) -> Tensor:
        began = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        out = super().attend(qkv)
        if self._on_gpu:
            torch.cuda._sleep(self._cycles)  # noqa: SLF001
            return out
        until = began + self.factor * KNOWN_MS * 1e6
        while time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) < until:
            pass
        return out


class Slower(KnownTime):
    """Takes 5 % longer."""

    factor = SLOWER


class Raises(Subject):
    """Raises."""

    def attend(self, qkv: Tensor) -> Tensor:
        raise RuntimeError("this backend always fails")


class Crashes(Subject):
    """Reads an address that nobody has."""

    def attend(self, qkv: Tensor) -> Tensor:
        ctypes.string_at(0)
        return super().attend(qkv)


class Hangs(Subject):
    """Never answers."""

    def attend(self, qkv: Tensor) -> Tensor:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1e6)
        return super().attend(qkv)


class AllocatesTooMuch(Subject):
    """Asks for more memory than any machine has."""

    def attend(self, qkv: Tensor) -> Tensor:
        return torch.empty(_IMPOSSIBLE_BYTES, dtype=torch.int8, device=qkv.device)


class IsWrong(Subject):
    """Off by one percent."""

    def attend(self, qkv: Tensor) -> Tensor:
        return super().attend(qkv) * 1.01


class Remembers(Subject):
    """Computes once and then returns what it had: a cache that a benchmark would take for speed."""

    def began(self, device: torch.device) -> None:
        self._kept: dict[int, Tensor] = {}

    def attend(self, qkv: Tensor) -> Tensor:
        if qkv.data_ptr() not in self._kept:
            self._kept[qkv.data_ptr()] = super().attend(qkv)
        return self._kept[qkv.data_ptr()]


class LeavesAProcess(Subject):
    """Starts a process that leaves its session and its environment."""

    def began(self, device: torch.device) -> None:
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", "import time; time.sleep(600)", LEFT_BEHIND], start_new_session=True, env={}
        )


class IndexesOutOfRange(Subject):
    """On a GPU: an assertion of the device, after which its context is of no use."""

    def attend(self, qkv: Tensor) -> Tensor:
        places = torch.full((1,), 2**30, dtype=torch.long, device=qkv.device)
        return super().attend(qkv) + qkv.flatten()[places]


class WaitsForTheDevice(Subject):
    """On a GPU: asks for a value on the host, which no CUDA graph can hold."""

    def attend(self, qkv: Tensor) -> Tensor:
        return super().attend(qkv) * (1.0 if qkv.flatten()[0].item() < math.inf else 0.0)
