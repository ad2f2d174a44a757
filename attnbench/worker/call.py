"""A backend and a problem made into the one function that is checked, profiled and timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attnbench.backends.base import Backend, OnMap, check_plain, prepare_on_map
from attnbench.core.problem import Mode, Problem, Scope
from attnbench.layer import LocallyGroupedAttention
from attnbench.worker.reference import BIAS_TABLE, INPUT, OUTPUT, Inputs, Outcome


class Call:
    """One call of a prepared backend: forward, or forward and backward.

    Args:
        backend: What computes.
        problem: What to compute; ``unsupported`` has nothing against it.
        inputs: Made for this problem.
    """

    def __init__(self, backend: Backend, problem: Problem, inputs: Inputs) -> None:
        self.problem = problem
        self.backward = problem.mode is Mode.FORWARD_BACKWARD
        self._output_gradient = inputs.output_gradient.clone()
        self._parameters = {
            name: value.detach().clone().requires_grad_(self.backward) for name, value in inputs.parameters.items()
        }
        self._grad = torch.autograd.grad  # whatever a backend puts in its place
        self._layout: OnMap | LocallyGroupedAttention | None = None
        self._forward = self._prepare(backend, inputs.x.device)

    def _prepare(self, backend: Backend, device: torch.device) -> Callable[[Tensor], Tensor]:
        problem, bias = self.problem, self._parameters.get(BIAS_TABLE)
        match problem.scope:
            case Scope.WINDOWS:
                return backend.prepare(problem, device=device, bias=bias)
            case Scope.MAP:
                self._layout = prepare_on_map(backend, problem, device=device, bias=bias)
                return self._layout
            case Scope.LAYER:
                layer = LocallyGroupedAttention(
                    problem.channels,
                    heads=problem.heads,
                    window=(problem.window_height, problem.window_width),
                    pattern=problem.pattern,
                    padding=problem.padding,
                    bias=problem.bias,
                    backend=backend,
                )
                layer.to(device=device, dtype=getattr(torch, problem.dtype)).load_state_dict(self._parameters)
                layer.requires_grad_(self.backward)
                self._parameters = dict(layer.named_parameters())
                self._layout = layer
                return layer

    @property
    def layout_bytes(self) -> int:
        """What is kept between calls to make windows; a layer prepares it in its first call."""
        return 0 if self._layout is None else self._layout.held_bytes

    def input(self, x: Tensor) -> Tensor:
        """``x`` as the call takes it."""
        return x.detach().requires_grad_(self.backward)

    def rest(self, x: Tensor) -> Inputs:
        """All that a call depends on besides its input ``x``, to be changed in place."""
        parameters = {name: parameter.detach() for name, parameter in self._parameters.items()}
        return Inputs(x=x.detach(), parameters=parameters, output_gradient=self._output_gradient)

    def __call__(self, x: Tensor) -> Any:
        """What is timed. Gradients are returned, never accumulated: there is nothing to reset between calls.

        In mode forward it must run under ``torch.inference_mode``.
        """
        if not self.backward:
            return self._forward(x)
        output = self._forward(x)
        return self._grad(output, [x, *self._parameters.values()], self._output_gradient)

    def named(self, result: Any) -> dict[str, Tensor]:
        """What a call returned, by the names that the reference uses: the output, or the gradients."""
        if not self.backward:
            return {OUTPUT: result}
        return dict(zip([INPUT, *self._parameters], result, strict=True))

    def output(self, x: Tensor) -> Tensor:
        """The output of one call alone."""
        with torch.inference_mode(not self.backward):
            output = self._forward(x)
        check_plain(output)
        return output.detach()

    def outcome(self, x: Tensor) -> Outcome:
        """Output and gradients of one call, for the check."""
        if not self.backward:
            return Outcome(output=self.output(x), gradients={})
        output = self._forward(x)
        check_plain(output)
        if output.shape != self._output_gradient.shape:
            return Outcome(output=output.detach(), gradients={})  # wrong already: there is no gradient to ask for
        if not output.requires_grad:
            return Outcome(output=output, gradients={})  # cut off from its input: there are no gradients, either
        sources = {INPUT: x, **self._parameters}
        gradients: Sequence[Tensor | None] = self._grad(
            output, list(sources.values()), self._output_gradient, allow_unused=True
        )
        found = {name: value for name, value in zip(sources, gradients, strict=True) if value is not None}
        return Outcome(output=output.detach(), gradients=found)
