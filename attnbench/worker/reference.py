"""What is right: seeded inputs, a float64 reference computed from the definition, and how far one may be from it.

Nothing here is shared with the backends. The reference asks, for every query token, which keys it sees; tokens that
see the same keys are computed together, so that it stays affordable at the largest maps.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

import torch
from torch import Tensor

from attnbench.core.problem import Axis, Mode, Problem, Scope
from attnbench.core.protocol import Verdict

BIAS_TABLE = "relative_position_bias_table"
INPUT = "input"
OUTPUT = "output"
_SCORES_AT_ONCE = 2**25
"""Scores computed together: 256 MiB in float64."""
_FLOAT32_UNITS, _TOKENS_A_UNIT = 16, 4
"""The absolute term of the bound in float32, in units of the last place of the reference's largest entry: so many, or
one for so many tokens of a window where that is more.

The error of a sum grows with its terms (Higham 2002, section 3.1), and in proportion to them where every addition
rounds the same way. Tensor cores truncate (Fasi et al. 2021, section 4), and torch's own kernels for float32 run on
them, with three products of TF32 for one. Emulated so, their error is 0.5, 1.1, 3.7 and 12 times a bound of 16 units at
49, 196, 784 and 3,136 tokens; that of plain TF32 is 600 to 1,100 times such a bound at any of them. In half precision
the term is one unit: there, the naive computation's own error is most of the bound."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a call is given, in the problem's dtype."""

    x: Tensor
    """By scope: ``[batch, H, W, 3, heads, head_dim]``, ``[batch * windows, tokens, 3, heads, head_dim]``, or
    ``[batch, H, W, channels]``."""
    parameters: dict[str, Tensor]
    """By state-dict name: the bias table ``[(2 k1 - 1) (2 k2 - 1), heads]`` and, at scope layer, the projections."""
    output_gradient: Tensor
    """Shaped like the output; zero where scope ``windows`` has padded tokens."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a call gave."""

    output: Tensor
    gradients: dict[str, Tensor]
    """Of the input and of every parameter; empty in mode forward."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All of them by name."""
        return {OUTPUT: self.output, **self.gradients}


def make_inputs(problem: Problem, *, device: torch.device, seed: int) -> Inputs:
    """Random normal inputs; zeros would hide mistakes, and run faster."""
    generator = torch.Generator(device=device).manual_seed(seed)
    dtype = getattr(torch, problem.dtype)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        drawn = torch.randn(*shape, generator=generator, device=device, dtype=torch.float32)
        return drawn.mul_(scale).to(dtype)

    area = (problem.batch, problem.height, problem.width)
    per_head = (problem.heads, problem.head_dim)
    parameters = {}
    if problem.has_bias:
        parameters[BIAS_TABLE] = normal(problem.bias_entries, problem.heads)
    if problem.scope is Scope.LAYER:
        channels = problem.channels
        for name, outputs in (("qkv", 3 * channels), ("proj", channels)):
            parameters[f"{name}.weight"] = normal(outputs, channels, scale=channels**-0.5)
            parameters[f"{name}.bias"] = normal(outputs, scale=0.5)
        return Inputs(x=normal(*area, channels), parameters=parameters, output_gradient=normal(*area, channels))
    x, output_gradient = normal(*area, 3, *per_head), normal(*area, *per_head)
    if problem.scope is Scope.WINDOWS:
        x, output_gradient = windows_of(x, problem), windows_of(output_gradient, problem)
    return Inputs(x=x, parameters=parameters, output_gradient=output_gradient)


def reference(problem: Problem, inputs: Inputs, *, dtype: torch.dtype = torch.float64) -> Outcome:
    """Compute ``problem`` from its definition.

    Args:
        problem: What to compute.
        inputs: Values of the problem's dtype; they are converted before anything is computed.
        dtype: Precision of the computation.

    Returns:
        Output and gradients of ``dtype``, shaped as the scope says. At scope ``windows`` padded tokens hold zeros.
    """
    if problem.mode is Mode.FORWARD:
        return _reference(problem, inputs, dtype)
    # A backward pass keeps the scores of all its images: a few at a time fit into memory where a whole batch does not.
    scores = problem.heads * problem.rows.padded * problem.columns.padded * problem.tokens
    images = max(1, _SCORES_AT_ONCE // scores)
    parts = [_reference(*part, dtype) for part in _in_slices(problem, inputs, images)]
    gradients = {
        name: torch.cat([part.gradients[name] for part in parts]) if name == INPUT
        else torch.stack([part.gradients[name] for part in parts]).sum(0)
        for name in parts[0].gradients
    }  # fmt: skip
    return Outcome(output=torch.cat([part.output for part in parts]), gradients=gradients)


def _in_slices(problem: Problem, inputs: Inputs, images: int) -> Iterator[tuple[Problem, Inputs]]:
    """The same problem on a few images at a time."""
    rows = images * (problem.windows if problem.scope is Scope.WINDOWS else 1)
    for x, output_gradient in zip(inputs.x.split(rows), inputs.output_gradient.split(rows), strict=True):
        batch = images * x.shape[0] // rows
        yield (
            replace(problem, batch=batch),
            Inputs(x=x, parameters=inputs.parameters, output_gradient=output_gradient),
        )


def _reference(problem: Problem, inputs: Inputs, dtype: torch.dtype) -> Outcome:
    backward = problem.mode is Mode.FORWARD_BACKWARD
    x = inputs.x.detach().to(dtype).requires_grad_(backward)
    parameters = {name: value.detach().to(dtype).requires_grad_(backward) for name, value in inputs.parameters.items()}
    with torch.set_grad_enabled(backward):
        output = _compute(problem, x, parameters)
    if not backward:
        return Outcome(output=output, gradients={})
    sources = {INPUT: x, **parameters}
    gradients = torch.autograd.grad(output, list(sources.values()), inputs.output_gradient.to(dtype))
    return Outcome(output=output.detach(), gradients=dict(zip(sources, gradients, strict=True)))


def _compute(problem: Problem, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    table = parameters[BIAS_TABLE] if problem.has_bias else None
    match problem.scope:
        case Scope.MAP:
            return _attend(_pad(x, problem), problem, table)
        case Scope.WINDOWS:
            return windows_of(_attend(_padded_map(x, problem), problem, table), problem)
        case Scope.LAYER:
            qkv = _pad(x, problem) @ parameters["qkv.weight"].T + parameters["qkv.bias"]
            out = _attend(qkv.unflatten(-1, (3, problem.heads, problem.head_dim)), problem, table)
            return out.flatten(3) @ parameters["proj.weight"].T + parameters["proj.bias"]
    assert_never(problem.scope)


def _attend(qkv: Tensor, problem: Problem, table: Tensor | None) -> Tensor:
    """From the padded map ``[batch, Hp, Wp, 3, heads, head_dim]`` to ``[batch, H, W, heads, head_dim]``."""
    largest = problem.heads * problem.tokens**2
    images = max(1, _SCORES_AT_ONCE // largest)
    bias = None if table is None else _pairwise_bias(problem, table)
    return torch.cat([_attend_images(chunk, problem, bias) for chunk in qkv.split(images)])


def _attend_images(qkv: Tensor, problem: Problem, bias: Tensor | None) -> Tensor:
    row_groups, column_groups = _groups(problem.rows), _groups(problem.columns)
    out_rows = []
    # Two levels of split: the backward of a split is one concatenation, that of a slice a whole map of zeros.
    strips = qkv.split([group.total for group in row_groups], dim=1)
    for strip, rows in zip(strips, row_groups, strict=True):
        parts = strip.split([group.total for group in column_groups], dim=2)
        out_columns = [
            _attend_group(part, rows, columns, problem, bias)
            for part, columns in zip(parts, column_groups, strict=True)
            if rows.real and columns.real
        ]
        if out_columns:
            out_rows.append(torch.cat(out_columns, dim=2))
    return torch.cat(out_rows, dim=1)


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Consecutive positions of one side that see one another."""

    total: int
    real: int
    """Those of the map itself: the first ones."""


def _groups(axis: Axis) -> list[_Group]:
    """The windows of one side, from the definition.

    A shifted map is divided into windows displaced by the shift (Liu et al. 2021, section 3.2): those at the edges
    are smaller, and the cyclic shift with its mask is only a way of computing this.
    """
    numbers = [(position + axis.window - axis.shift) // axis.window for position in range(axis.padded)]
    return [
        _Group(
            total=numbers.count(number),
            real=sum(1 for position in range(axis.size) if numbers[position] == number),
        )
        for number in sorted(set(numbers))
    ]


def _attend_group(part: Tensor, rows: _Group, columns: _Group, problem: Problem, bias: Tensor | None) -> Tensor:
    """Attention among ``[batch, rows, columns, 3, heads, head_dim]``; gives the map's own tokens."""
    own = part[:, : rows.real, : columns.real]
    seen = own if problem.hides_padding else part
    query = own[:, :, :, 0].flatten(1, 2).transpose(1, 2)
    key, value = (seen[:, :, :, which].flatten(1, 2).transpose(1, 2) for which in (1, 2))
    scores = query @ key.transpose(-2, -1) / math.sqrt(problem.head_dim)
    if bias is not None:
        # Only displacements matter, so a group may lie anywhere in the window: here, at its first corner.
        placed = bias[: own.shape[1], : own.shape[2], : seen.shape[1], : seen.shape[2]]
        scores = scores + placed.reshape(*scores.shape[-2:], -1).permute(2, 0, 1)
    out = scores.softmax(dim=-1) @ value
    return out.transpose(1, 2).unflatten(1, own.shape[1:3])


def _pairwise_bias(problem: Problem, table: Tensor) -> Tensor:
    """The bias of every pair of tokens of a window: ``[k1, k2, k1, k2, heads]``, queries first."""

    def displacements(window: int) -> Tensor:
        positions = torch.arange(window, device=table.device)
        return positions[:, None] - positions[None, :] + window - 1

    down, right = displacements(problem.window_height), displacements(problem.window_width)
    return table[down[:, None, :, None] * (2 * problem.window_width - 1) + right[None, :, None, :]]


def _pad(x: Tensor, problem: Problem) -> Tensor:
    rows, columns = problem.rows, problem.columns
    rest = x.shape[3:]
    below = x.new_zeros(x.shape[0], rows.padding, x.shape[2], *rest)
    x = torch.cat([x, below], dim=1)
    beside = x.new_zeros(x.shape[0], x.shape[1], columns.padding, *rest)
    return torch.cat([x, beside], dim=2)


def _addresses(problem: Problem, device: torch.device) -> tuple[Tensor, Tensor]:
    """For every position of the padded map, its window and its token there: two tensors ``[Hp, Wp]``."""
    rows, columns = problem.rows, problem.columns
    row = (torch.arange(rows.padded, device=device) - rows.shift) % rows.padded
    column = (torch.arange(columns.padded, device=device) - columns.shift) % columns.padded
    window = (row // rows.window)[:, None] * columns.windows + (column // columns.window)[None, :]
    token = (row % rows.window)[:, None] * columns.window + (column % columns.window)[None, :]
    return window, token


def map_of(windows: Tensor, problem: Problem) -> Tensor:
    """From ``[batch * windows, tokens, ...]`` to ``[batch, H, W, ...]``: padded tokens are left out."""
    return _padded_map(windows, problem)[:, : problem.height, : problem.width]


def _padded_map(windows: Tensor, problem: Problem) -> Tensor:
    window, token = _addresses(problem, windows.device)
    return windows.unflatten(0, (problem.batch, problem.windows))[:, window, token]


def windows_of(x: Tensor, problem: Problem) -> Tensor:
    """From ``[batch, H, W, ...]`` to ``[batch * windows, tokens, ...]``, with zeros for padded tokens."""
    window, token = _addresses(problem, x.device)
    positions = torch.empty(problem.windows * problem.tokens, dtype=torch.long, device=x.device)
    positions[(window * problem.tokens + token).flatten()] = torch.arange(positions.numel(), device=x.device)
    packed = _pad(x, problem).flatten(1, 2)[:, positions]
    return packed.unflatten(1, (problem.windows, problem.tokens)).flatten(0, 1)


class Expectation:
    """What every backend must give for one problem: inputs, the reference, and bounds on the difference.

    The bound of every tensor is twice the error of the naive computation in the problem's own dtype, plus a small
    absolute term that grows with the tokens of a window.

    Args:
        problem: What to compute.
        inputs: From what.
    """

    def __init__(self, problem: Problem, inputs: Inputs) -> None:
        self.problem, self.inputs = problem, inputs
        self._exact = self._tensors(reference(problem, self.inputs))
        dtype = getattr(torch, problem.dtype)
        naive = self._tensors(reference(problem, self.inputs, dtype=dtype))
        units = max(_FLOAT32_UNITS, problem.tokens / _TOKENS_A_UNIT)
        unit = max(units * torch.finfo(torch.float32).eps, torch.finfo(dtype).eps)
        self.bounds = {
            name: 2 * _error(naive[name], exact) + unit * float(exact.abs().max())
            for name, exact in self._exact.items()
        }

    @classmethod
    def seeded(cls, problem: Problem, *, device: torch.device, seed: int) -> Expectation:
        """From random inputs."""
        return cls(problem, make_inputs(problem, device=device, seed=seed))

    @property
    def size(self) -> int:
        """Bytes of the inputs and of the reference."""
        kept = [self.inputs.x, self.inputs.output_gradient, *self.inputs.parameters.values(), *self._exact.values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in kept)

    def misshapen(self, found: Mapping[str, Tensor]) -> str:
        """The first tensor of another shape or dtype than what it stands for; empty where there is none."""
        given = {OUTPUT: self.inputs.output_gradient, INPUT: self.inputs.x, **self.inputs.parameters}
        for name, tensor in found.items():
            if name not in self._exact:
                return f"{name!r:.80} is no output (allowed: {', '.join(self._exact)})"
            what, allowed = _told(name), given[name]
            if tensor.shape != allowed.shape:
                return f"{what} of shape {tuple(tensor.shape)} (allowed: {tuple(allowed.shape)})"
            if tensor.dtype is not allowed.dtype:
                return f"{what} of dtype {tensor.dtype} (allowed: {self.problem.dtype})"
        return ""

    def verdict(self, found: Mapping[str, Tensor], *, timed: bool = False, ignored: Collection[str] = ()) -> Verdict:
        """Compare what a call gave with the reference, the output first.

        Args:
            found: By name, the output and, in mode forward_backward, every gradient.
            timed: Whether it was timed: with gradients, the output is not among what is kept.
            ignored: Names that are not looked at.
        """
        max_error = math.inf
        if reason := self.misshapen(found):
            return Verdict(max_error=max_error, reason=reason)
        for name, exact in self._exact.items():
            if name in ignored or (timed and name == OUTPUT and name not in found and len(self._exact) > 1):
                continue
            if name not in found:
                return Verdict(max_error=max_error, reason=f"no {_told(name)}")
            error = _error(self._on_map({name: found[name]})[name], exact)
            if name == OUTPUT and not math.isnan(error):
                max_error = error
            if not error <= self.bounds[name]:  # also where it is not a number
                return Verdict(max_error=max_error, reason=self._disagreement(_told(name), error, self.bounds[name]))
        return Verdict(max_error=max_error, reason="")

    @staticmethod
    def _disagreement(what: str, error: float, bound: float) -> str:
        if math.isnan(error):
            return f"{what} holds NaN, which the float64 reference does not"
        return f"{what} is off by {error:.3g} (allowed: {bound:.3g}) from the float64 reference"

    def _tensors(self, outcome: Outcome) -> dict[str, Tensor]:
        return self._on_map(outcome.tensors)

    def _on_map(self, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is to be compared: at scope ``windows`` the map's own tokens."""
        tensors = dict(found)
        if self.problem.scope is Scope.WINDOWS:
            for name in (OUTPUT, INPUT):
                if name in tensors:
                    tensors[name] = map_of(tensors[name], self.problem)
        return tensors


def _told(name: str) -> str:
    return name if name == OUTPUT else f"gradient of {name}"


def _error(found: Tensor, exact: Tensor) -> float:
    if found.shape != exact.shape:
        return math.inf
    return float((found.detach().to(torch.float64) - exact.to(torch.float64)).abs().max())
