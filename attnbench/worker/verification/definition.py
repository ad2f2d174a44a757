"""The float64 reference beside a token-by-token definition, and beside the layers of timm and torchvision.

The reference divides a displaced map into windows. The definition below rolls the map and masks regions instead, as
Swin's code does (Liu et al. 2021, section 3.2 and figure 4), one query and one key at a time.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from attnbench.core.problem import Axis, Bias, Mode, Padding, Pattern, Problem, Scope
from attnbench.core.verification import Figure
from attnbench.worker.failure import describe_error
from attnbench.worker.reference import BIAS_TABLE, INPUT, OUTPUT, Inputs, make_inputs, reference

_CLOSE = 1e-10
"""Both compute in float64: what is left is the order of additions."""
_PLAIN = Problem(batch=2, height=4, width=6, window_height=2, window_width=3, heads=2, head_dim=4)
_PROBLEMS = {
    "grouped": _PLAIN,
    "grouped, zero padding": replace(_PLAIN, height=5, width=7),
    "grouped, masked padding": replace(_PLAIN, height=5, width=7, padding=Padding.MASKED),
    "shifted": replace(_PLAIN, pattern=Pattern.SHIFTED),
    "shifted, zero padding": replace(_PLAIN, height=5, width=7, pattern=Pattern.SHIFTED),
    "shifted, masked padding, bias": replace(
        _PLAIN, height=5, width=7, pattern=Pattern.SHIFTED, padding=Padding.MASKED, bias=Bias.RELATIVE
    ),
    "layer, zero padding, bias": replace(_PLAIN, height=5, width=7, scope=Scope.LAYER, bias=Bias.RELATIVE),
    "global attention": replace(_PLAIN, window_height=4, window_width=6),
}
_SHIFTED = Problem(
    batch=2, height=8, width=8, window_height=4, window_width=4, heads=2, head_dim=8,
    pattern=Pattern.SHIFTED, bias=Bias.RELATIVE, scope=Scope.LAYER,
)  # fmt: skip
_GROUPED = replace(_SHIFTED, height=7, width=9, pattern=Pattern.GROUPED, bias=Bias.NONE)


def token_by_token(_: torch.device) -> Iterator[Figure]:
    """The largest difference of outputs and gradients."""
    differences = {}
    for name, problem in _PROBLEMS.items():
        training = replace(problem, mode=Mode.FORWARD_BACKWARD)
        inputs = make_inputs(training, device=torch.device("cpu"), seed=1)
        found = reference(training, inputs).tensors
        defined = _defined(training, inputs)
        differences[name] = max(float((found[one] - defined[one]).abs().max()) for one in defined)
    yield Figure(
        check="reference",
        of=f"{len(differences)} problems, outputs and gradients",
        value=max(differences.values()),
        most=_CLOSE,
        broken="; ".join(f"{name} differs by {by:.3g}" for name, by in differences.items() if not by <= _CLOSE),
    )


def published_modules(_: torch.device) -> Iterator[Figure]:
    """The largest difference from the layers of timm and torchvision, in float64 and with the same weights."""
    modules: dict[str, tuple[Problem, Callable[[Problem, Inputs], Tensor]]] = {
        "timm.models.twins": (_GROUPED, _of_timm),
        "torchvision.models.swin_transformer": (_SHIFTED, _of_torchvision),
    }
    for name, (problem, call) in modules.items():
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            package = name.partition(".")[0]
            yield Figure(check="published", of=name, absent=f"{package} is not installed: pip install {package}")
            continue
        except Exception as error:  # a torchvision that was built for another torch
            yield Figure(check="published", of=name, absent=f"it cannot be imported: {describe_error(error)}")
            continue
        inputs = make_inputs(problem, device=torch.device("cpu"), seed=2)
        with torch.inference_mode():
            difference = float((call(problem, inputs) - reference(problem, inputs).output).abs().max())
        yield Figure(check="published", of=name, value=difference, most=_CLOSE)


def _defined(problem: Problem, inputs: Inputs) -> dict[str, Tensor]:
    x = inputs.x.to(torch.float64).requires_grad_()
    parameters = {name: value.to(torch.float64).requires_grad_() for name, value in inputs.parameters.items()}
    padded = torch.nn.functional.pad(x, (0, 0) * (x.dim() - 3) + (0, problem.columns.padding, 0, problem.rows.padding))
    qkv = padded
    if problem.scope is Scope.LAYER:
        qkv = torch.nn.functional.linear(padded, parameters["qkv.weight"], parameters["qkv.bias"])
        qkv = qkv.unflatten(-1, (3, problem.heads, problem.head_dim))
    table = parameters[BIAS_TABLE] if problem.has_bias else None
    rows = [
        torch.stack([_one_query(problem, qkv, table, row, column) for column in range(problem.width)], dim=1)
        for row in range(problem.height)
    ]
    output = torch.stack(rows, dim=1)
    if problem.scope is Scope.LAYER:
        output = torch.nn.functional.linear(output.flatten(3), parameters["proj.weight"], parameters["proj.bias"])
    sources = {INPUT: x, **parameters}
    gradients = torch.autograd.grad(output, list(sources.values()), inputs.output_gradient.to(torch.float64))
    return {OUTPUT: output.detach(), **dict(zip(sources, gradients, strict=True))}


def _one_query(problem: Problem, qkv: Tensor, table: Tensor | None, row: int, column: int) -> Tensor:
    """What the token at a place gets, ``[batch, heads, head_dim]``."""
    query = qkv[:, row, column, 0]
    scores, values = [], []
    for down in range(problem.rows.padded):
        for right in range(problem.columns.padded):
            hidden = problem.hides_padding and (down >= problem.height or right >= problem.width)
            if hidden or not (_sees(problem.rows, row, down) and _sees(problem.columns, column, right)):
                continue
            score = (query * qkv[:, down, right, 1]).sum(-1) / math.sqrt(problem.head_dim)
            if table is not None:
                apart_down = _rolled(problem.rows, row) - _rolled(problem.rows, down)
                apart_right = _rolled(problem.columns, column) - _rolled(problem.columns, right)
                entry = (apart_down + problem.window_height - 1) * (2 * problem.window_width - 1)
                score = score + table[entry + apart_right + problem.window_width - 1]
            scores.append(score)
            values.append(qkv[:, down, right, 2])
    weights = torch.stack(scores).softmax(dim=0)
    return (weights[..., None] * torch.stack(values)).sum(0)


def _rolled(axis: Axis, position: int) -> int:
    return (position - axis.shift) % axis.padded


def _sees(axis: Axis, query: int, key: int) -> bool:
    """Whether two positions share a window after the roll, and neither was carried round the edge alone."""

    def region(position: int) -> int:
        rolled = _rolled(axis, position)
        return (rolled >= axis.padded - axis.window) + (axis.shift > 0 and rolled >= axis.padded - axis.shift)

    same_window = _rolled(axis, query) // axis.window == _rolled(axis, key) // axis.window
    return same_window and region(query) == region(key)


def _of_timm(problem: Problem, inputs: Inputs) -> Tensor:
    layer: Any = importlib.import_module("timm.models.twins").LocallyGroupedAttn(
        problem.channels, num_heads=problem.heads, ws=problem.window_height
    )
    layer.load_state_dict(inputs.parameters)
    out: Tensor = layer.double().eval()(inputs.x.double().flatten(1, 2), (problem.height, problem.width))
    return out.unflatten(1, (problem.height, problem.width))


def _of_torchvision(problem: Problem, inputs: Inputs) -> Tensor:
    layer: Any = importlib.import_module("torchvision.models.swin_transformer").ShiftedWindowAttention(
        problem.channels, [problem.window_height, problem.window_width],
        [problem.rows.shift, problem.columns.shift], problem.heads,
    )  # fmt: skip
    layer.load_state_dict(inputs.parameters, strict=False)  # its index is a buffer
    out: Tensor = layer.double().eval()(inputs.x.double())
    return out
