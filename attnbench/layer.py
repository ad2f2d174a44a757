"""Locally-grouped self-attention as the module a model calls, over any backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attnbench.backends.base import Attend, Backend, DeviceFacts, Level, check_plain, layout_around, refusals
from attnbench.backends.registry import load
from attnbench.backends.windows import Layout
from attnbench.core.errors import AttnbenchError, ProblemError
from attnbench.core.problem import Bias, Dtype, Mode, Padding, Pattern, Problem, Scope

_INITIAL_STD = 0.02
"""Standard deviation of a new bias table (Liu et al. 2021, published code)."""
BEST = "best"
"""In the place of a backend's name: the one that stored runs recommend."""
_MOST_PREPARED = 8
"""Shapes of input a layer stays prepared for."""


class LocallyGroupedAttention(nn.Module):
    """LSA with its projections (Chu et al. 2021, section 3.2; shifted windows: Liu et al. 2021, section 3.2).

    ``[batch, H, W, dim]`` in and out. The map is padded *before* the qkv projection, as in the published code: a
    padded token's key is the projection's bias, not zero. Parameters are named as there, so that published weights
    load: ``qkv``, ``proj`` and, with ``bias="relative"``, ``relative_position_bias_table``.

    Args:
        dim: Channels.
        heads: Attention heads; they divide ``dim``.
        window: Tokens of a window: 7, or (7, 14) for height and width.
        pattern: ``grouped``, or ``shifted`` by half a window.
        padding: ``zero``: padded tokens take part in the softmax; ``masked``: they do not.
        bias: ``none``, or ``relative``: a learned relative position bias.
        backend: A backend's name, a path ``package.module:Class``, or a backend; ``best``: for every shape of input,
            the one that stored runs of this kind of device recommend (``attnbench.best``).
        runs: With ``best``: run directories, or directories of runs.

    Raises:
        ProblemError: ``dim`` is not a multiple of ``heads``, or a value is not one of those allowed.
        BackendError: There is no such backend.
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int,
        window: int | tuple[int, int],
        pattern: str = "grouped",
        padding: str = "zero",
        bias: str = "none",
        backend: str | Backend = "sdpa",
        runs: str | Path | Sequence[str | Path] = "results",
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ProblemError("heads", f"{heads} heads do not divide {dim} channels")
        self.dim, self.heads = dim, heads
        self.window = _window(window)
        try:
            self.pattern, self.padding, self.bias = Pattern(pattern), Padding(padding), Bias(bias)
        except ValueError as error:
            raise ProblemError("LocallyGroupedAttention", str(error)) from None
        self.runs = runs
        self.backend: Backend | None = None
        self._is_named = isinstance(backend, str)
        if backend != BEST:
            self.backend = load(backend)() if isinstance(backend, str) else backend
            if self.backend.pattern not in (None, self.pattern):
                always = self.backend.pattern
                raise ProblemError(
                    "pattern", f"{backend} always computes {always}, got {pattern} (give pattern='{always}')"
                )
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table: nn.Parameter | None = None
        if self.bias is Bias.RELATIVE:
            height, width = self.window
            table = torch.empty((2 * height - 1) * (2 * width - 1), heads)
            self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=_INITIAL_STD))
        self._prepared: dict[Any, tuple[Problem, Attend, Layout | None]] = {}

    def problem(self, x: Tensor) -> Problem:
        """What attending to ``x`` computes.

        Raises:
            ProblemError: ``x`` is not ``[batch, H, W, dim]``, or its map is smaller than a window.
        """
        if x.ndim != 4 or x.shape[-1] != self.dim:  # noqa: PLR2004 - batch, height, width, channels
            raise ProblemError("input", f"shape {tuple(x.shape)} (allowed: [batch, H, W, {self.dim}])")
        batch, height, width, _ = x.shape
        return Problem(
            batch=batch,
            height=height,
            width=width,
            window_height=self.window[0],
            window_width=self.window[1],
            heads=self.heads,
            head_dim=self.dim // self.heads,
            dtype=Dtype(str(x.dtype).removeprefix("torch.")),
            mode=Mode.FORWARD_BACKWARD if torch.is_grad_enabled() else Mode.FORWARD,
            pattern=self.pattern,
            padding=self.padding,
            bias=self.bias,
            scope=Scope.LAYER,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Attend inside every window of ``x``.

        Raises:
            ProblemError: The backend cannot compute this; every reason is named.
        """
        # Looking up what was prepared must cost next to nothing: it is inside the timed call.
        key = (x.shape, x.dtype, x.device, torch.is_grad_enabled(), id(self.relative_position_bias_table))
        prepared = self._prepared.get(key)
        if prepared is None:
            if len(self._prepared) >= _MOST_PREPARED:  # each may hold a mask and indices: forget the oldest
                self._prepared.pop(next(iter(self._prepared)))
            prepared = self._prepared[key] = self._prepare(self.problem(x), x.device)
        problem, attend, layout = prepared
        if layout is None:
            return self.proj(self._through_map(x, problem, attend))
        windows = layout.partition(x)
        attended = attend(self.qkv(windows).unflatten(-1, (3, self.heads, -1)))
        check_plain(attended)
        return self.proj(layout.reverse(attended.flatten(2)))

    @property
    def held_bytes(self) -> int:
        """What it keeps between calls to make windows, besides its parameters."""
        return sum(layout.held_bytes for _, _, layout in self._prepared.values() if layout is not None)

    def _through_map(self, x: Tensor, problem: Problem, attend: Attend) -> Tensor:
        height, width = problem.height, problem.width
        inner = _map_problem(problem)
        x = nn.functional.pad(x, (0, 0, 0, inner.width - width, 0, inner.height - height))
        attended = attend(self.qkv(x).unflatten(-1, (3, self.heads, -1)))
        check_plain(attended)
        return attended.flatten(3)[:, :height, :width]

    def _prepare(self, problem: Problem, device: torch.device) -> tuple[Problem, Attend, Layout | None]:
        backend = self.backend or self._best(problem, device)
        # Whoever hands over a backend knows that it is there.
        if self._is_named and (reason := backend.unavailable(device.type)):
            raise ProblemError(type(backend).__name__, reason)
        if reasons := refusals(backend, problem, DeviceFacts.of(device)):
            raise ProblemError(type(backend).__name__, "; ".join(reasons))
        inner = _map_problem(problem) if backend.level is Level.MAP else problem
        attend = backend.prepare(inner, device=device, bias=self.relative_position_bias_table)
        return problem, attend, layout_around(backend, problem, device=device)

    def _best(self, problem: Problem, device: torch.device) -> Backend:
        """The backend that stored runs recommend: measured as a layer, or else as attention on the map."""
        import attnbench  # imports what reads runs, which a worker's environment lacks, only when it is asked for

        try:
            found = attnbench.best(problem, self.runs, device_type=device.type)
        except AttnbenchError as as_layer:
            try:
                found = attnbench.best(replace(problem, scope=Scope.MAP), self.runs, device_type=device.type)
            except AttnbenchError:
                raise ProblemError("backend", f"{BEST}: {as_layer}; or name a backend") from None
        return load(found.name)()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Checkpoints of published code hold the index of the bias table, too; it follows from the window.
        state_dict.pop(f"{prefix}relative_position_index", None)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def __getstate__(self) -> dict[str, Any]:
        # What was prepared holds this module's own bias table: a copy prepares anew.
        return {**vars(self), "_prepared": {}}

    def extra_repr(self) -> str:
        """What the module computes, for ``print``."""
        height, width = self.window
        return (
            f"{self.dim}, heads={self.heads}, window=({height}, {width}), pattern={self.pattern}, "
            f"padding={self.padding}, bias={self.bias}, backend={type(self.backend).__name__ if self.backend else BEST}"
        )


def _window(window: object) -> tuple[int, int]:
    sides = (window, window) if isinstance(window, int) else window
    if isinstance(sides, tuple) and len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides):  # noqa: PLR2004
        return sides
    raise ProblemError("window", f"{window!r} (allowed: 7, or (7, 14) for height and width)")


def _map_problem(problem: Problem) -> Problem:
    """What a MAP backend computes inside the layer.

    Where padded tokens take part, their keys are the projection's bias: they must exist before the projection, so
    that the backend is handed a map which the windows divide. Where they are masked, it pads by itself.
    """
    inner = replace(problem, scope=Scope.MAP)
    if problem.padding is Padding.MASKED:
        return inner
    return replace(inner, height=problem.rows.padded, width=problem.columns.padded)
