"""What the backends over torch's scaled_dot_product_attention (SDPA) share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from attnbench.backends.base import Attend
from attnbench.backends.windows import window_bias
from attnbench.problem import Bias, Dtype, Mode, Padding, Problem

GRID_LIMIT = 65_535
"""Largest second and third dimension of a CUDA grid; several kernels put batch x windows there."""
_MIN_CAPABILITY = (8, 0)


def prepare_sdpa(
    problem: Problem, *, device: torch.device, bias: Tensor | None, kernel: SDPBackend | None = None
) -> Attend:
    """SDPA on 4-D tensors ``[batch * windows, heads, tokens, head_dim]``, the shape its fused kernels demand.

    Args:
        problem: What to compute.
        device: Where.
        bias: The relative position table, or None.
        kernel: The one kernel torch may use; None leaves the choice to torch. Pinning costs some microseconds of
            host time a call, as it does for anyone who pins.
    """
    added = window_bias(problem, device=device, bias=bias)

    def attend(qkv: Tensor) -> Tensor:
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        return scaled_dot_product_attention(query, key, value, attn_mask=added()).transpose(1, 2)

    if kernel is None:
        return attend

    def pinned(qkv: Tensor) -> Tensor:
        with sdpa_kernel([kernel]):
            return attend(qkv)

    return pinned


def half_precision_reasons(problem: Problem) -> list[str]:
    """Why a kernel for half precision alone cannot compute ``problem``."""
    if problem.dtype is Dtype.FLOAT32:
        return [f"dtype {problem.dtype} (allowed: float16, bfloat16)"]
    return []


def too_old(who: str) -> str | None:
    """Why FlashAttention-2 and cuDNN's kernel do not run on this GPU, or None."""
    if not torch.cuda.is_available() or (have := torch.cuda.get_device_capability()) >= _MIN_CAPABILITY:
        return None
    return f"{who} needs compute capability 8.0 or later, this GPU has {have[0]}.{have[1]}"


def alignment_reasons(problem: Problem) -> list[str]:
    """Why a CUTLASS kernel, which loads 16 bytes at a time, cannot compute ``problem``."""
    alignment = 16 // problem.dtype.bytes
    if problem.head_dim % alignment:
        return [f"head_dim {problem.head_dim} (allowed: multiples of {alignment} in {problem.dtype})"]
    return []


def grid_reasons(problem: Problem) -> list[str]:
    """Why a kernel with batch x windows in its CUDA grid cannot compute ``problem``."""
    sequences = problem.batch * problem.windows
    if sequences > GRID_LIMIT:
        return [f"batch x windows {sequences} (allowed: up to {GRID_LIMIT}, CUDA's grid limit)"]
    return []


def mask_reasons(problem: Problem) -> list[str]:
    """Why a kernel that takes no mask cannot compute ``problem``."""
    reasons = []
    if problem.shifted:
        reasons.append(f"pattern {problem.pattern} needs a mask (allowed: grouped)")
    if problem.padded and problem.padding is Padding.MASKED:
        reasons.append(f"padding {problem.padding} of map {problem.resolution} needs a mask (allowed: zero)")
    if problem.bias is not Bias.NONE:
        reasons.append(f"bias {problem.bias} (allowed: none)")
    return reasons


def bias_gradient_reasons(problem: Problem) -> list[str]:
    """Why a kernel without a gradient for its mask cannot compute ``problem``."""
    if problem.bias is not Bias.NONE and problem.mode is Mode.FORWARD_BACKWARD:
        return [f"bias {problem.bias} with mode {problem.mode}: no gradient for it (allowed: bias none, or forward)"]
    return []
