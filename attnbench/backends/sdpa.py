"""torch's scaled_dot_product_attention (SDPA): as torch picks its kernel, and pinned to each of its kernels."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from attnbench.backends import limits
from attnbench.backends.base import Attend, Backend, DeviceFacts
from attnbench.backends.masks import score_bias, window_bias
from attnbench.core.problem import Problem


@final
class Sdpa(Backend):
    """SDPA on 4-D tensors, the choice of kernel left to torch; which one it chose stands in ``kernel``."""

    def unsupported_on(self, problem: Problem, device: DeviceFacts) -> list[str]:
        if device.type != "cuda":
            return []
        # In half precision without a mask torch picks its flash kernel without looking at the grid's limit.
        picks_flash = not (limits.half_precision(problem) or limits.no_mask(problem) or limits.no_bias(problem))
        return limits.grid(problem) if picks_flash else limits.chunked_bias_gradient(problem)

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        return _prepare(problem, device=device, bias=bias)


@final
class SdpaMath(Backend):
    """SDPA's MATH kernel, which computes anything, and half precision in single precision."""

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        return _prepare(problem, device=device, bias=bias, kernel=SDPBackend.MATH)


@final
class SdpaFlash(Backend):
    """FlashAttention-2 inside torch on CUDA; on the CPU torch's one fused kernel, which also takes a mask."""

    @classmethod
    def unavailable(cls, device_type: str) -> str | None:
        return limits.too_old("torch's flash kernel") if device_type == "cuda" else None

    def unsupported_on(self, problem: Problem, device: DeviceFacts) -> list[str]:
        if device.type == "cpu":
            return limits.no_bias_gradient(problem)
        return (
            limits.half_precision(problem)
            + limits.no_mask(problem)
            + limits.no_bias(problem)
            + limits.grid(problem)
            + limits.head_dim(problem, most=256)
            + limits.flash_backward(problem, device)
        )

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        return _prepare(problem, device=device, bias=bias, kernel=SDPBackend.FLASH_ATTENTION)


@final
class SdpaEfficient(Backend):
    """The CUTLASS kernel in torch: all dtypes, with mask and bias; it copies an unaligned mask on every call.

    It splits what exceeds CUDA's grid limit by itself, but not the gradient of a bias.
    """

    @classmethod
    def unavailable(cls, device_type: str) -> str | None:
        return (
            None if device_type == "cuda" else f"torch has no memory-efficient kernel on {device_type} (allowed: cuda)"
        )

    def unsupported_on(self, problem: Problem, device: DeviceFacts) -> list[str]:
        return (
            limits.alignment(problem)
            + limits.bfloat16_arithmetic(problem, device)
            + limits.chunked_bias_gradient(problem)
        )

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        return _prepare(problem, device=device, bias=bias, kernel=SDPBackend.EFFICIENT_ATTENTION)


@final
class SdpaCudnn(Backend):
    """cuDNN's fused attention: half precision; a mask, but no gradient for it."""

    @classmethod
    def unavailable(cls, device_type: str) -> str | None:
        if device_type != "cuda":
            return f"torch has no cuDNN kernel on {device_type} (allowed: cuda)"
        if not torch.backends.cudnn.is_available():
            return "this torch was built without cuDNN"
        return limits.too_old("cuDNN's kernel")

    def unsupported(self, problem: Problem) -> list[str]:
        reasons = limits.half_precision(problem) + limits.no_bias_gradient(problem) + limits.grid(problem)
        reasons += limits.head_dim(problem, most=128, multiple=8)  # what every GPU allows; some take up to 256
        if problem.tokens == 1:
            reasons.append(f"window {problem.window} of one token (allowed: 2 tokens or more)")
        if problem.heads > limits.GRID_LIMIT:
            reasons.append(f"heads {problem.heads} (allowed: up to {limits.GRID_LIMIT})")
        return reasons

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        return _prepare(problem, device=device, bias=bias, kernel=SDPBackend.CUDNN_ATTENTION)


@final
class Sdpa5d(Backend):
    """SDPA on ``[batch, windows, heads, tokens, head_dim]``, as timm's Twins, NesT and Hiera call it.

    Every fused kernel demands four dimensions, so torch silently runs its MATH kernel.
    """

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        added = score_bias(problem, device=device, bias=bias)

        def attend(qkv: Tensor) -> Tensor:
            images = qkv.unflatten(0, (-1, problem.windows))
            query, key, value = images.permute(3, 0, 1, 4, 2, 5)
            out = scaled_dot_product_attention(query, key, value, attn_mask=added())
            return out.transpose(2, 3).flatten(0, 1)

        return attend


def _prepare(
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
