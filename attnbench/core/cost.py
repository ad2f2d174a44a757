"""What a problem must cost at least: FLOPs and bytes by formula.

Counters are no substitute: they miss fused attention (torch's FLOP counter reports 0 for SDPA on the CPU) and they
count what an implementation does, not what the problem asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import assert_never

from attnbench.core.problem import Axis, Mode, Problem, Scope


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The least work a problem asks for, over the whole batch."""

    flops: int
    """Floating-point operations of the matrix products; a multiply-add counts as 2. Softmax and bias are left out."""
    bytes: int
    """Each input read once, each output written once."""

    @property
    def intensity(self) -> float:
        """FLOPs per byte: against a machine's own ratio it says whether arithmetic or traffic bounds the time."""
        return self.flops / self.bytes


@lru_cache(maxsize=2**14)
def cost(problem: Problem) -> Cost:
    """Work of ``problem``: LSA's is 2 H W k1 k2 C multiply-adds an image (Chu et al. 2021, section 3.2).

    Only pairs of a query and a key that it sees count, so a shifted map costs less than a grouped one. A backward
    pass costs twice its forward pass: four matrix products for two, nothing computed again.
    """
    forward = 4 * visible_pairs(problem) * problem.channels * problem.batch
    if problem.scope is Scope.LAYER:
        forward += 8 * problem.batch * problem.height * problem.width * problem.channels**2
    passes = 3 if problem.mode is Mode.FORWARD_BACKWARD else 1
    return Cost(flops=forward * passes, bytes=_elements(problem) * problem.dtype.bytes)


def visible_pairs(problem: Problem) -> int:
    """Pairs (query of the map, key that it sees) in one image, in each head."""
    masked = problem.hides_padding
    return _axis_pairs(problem.rows, masked=masked) * _axis_pairs(problem.columns, masked=masked)


def _axis_pairs(axis: Axis, *, masked: bool) -> int:
    # What a query sees is a product of what it sees along either side, so pairs can be counted side by side. Rolled,
    # padded tokens end where the second region begins; every window before them is full, and few come after.
    first_padded, second_region = axis.size - axis.shift, axis.padded - axis.shift
    full = first_padded // axis.window
    pairs = full * axis.window**2
    for begin in range(full * axis.window, axis.padded, axis.window):
        end = begin + axis.window
        for low, high in ((begin, min(end, second_region)), (max(begin, second_region), end)):
            padded = max(0, min(high, second_region) - max(low, first_padded))
            queries = max(0, high - low) - padded
            pairs += queries * (queries if masked else max(0, high - low))
    return pairs


def _elements(problem: Problem) -> int:
    of_map, of_windows = problem.height * problem.width, problem.windows * problem.tokens
    weights, inputs_per_output = 0, 3
    match problem.scope:
        case Scope.MAP:
            tokens = of_map
        case Scope.WINDOWS:
            tokens = of_windows
        case Scope.LAYER:
            tokens, inputs_per_output = of_map, 1
            weights = 4 * problem.channels**2 + 4 * problem.channels
        case _:
            assert_never(problem.scope)
    token_map = problem.batch * tokens * problem.channels
    inputs = inputs_per_output * token_map
    if problem.has_bias:
        weights += problem.bias_entries * problem.heads
    forward = inputs + weights + token_map
    if problem.mode is Mode.FORWARD:
        return forward
    # The output's gradient comes in; the gradients of inputs and weights go out.
    return forward + token_map + inputs + weights
