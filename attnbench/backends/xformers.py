"""xformers' memory_efficient_attention."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from attnbench.backends.base import Attend, Backend, DeviceFacts
from attnbench.backends.limits import (
    GRID_LIMIT,
    alignment,
    bfloat16_arithmetic,
    half_precision,
    head_dim,
    missing,
    no_bias,
    no_mask,
    spelled,
)
from attnbench.backends.masks import window_bias
from attnbench.core.problem import Problem

_LAST_CUTLASS = (9, 0)
_BIAS_ALIGNMENT = 8
"""xformers wants rows of the bias at multiples of 16 bytes; 8 elements are enough for every dtype."""


@final
class Xformers(Backend):
    """``memory_efficient_attention`` on ``[batch * windows, tokens, heads, head_dim]``, the operator left to xformers.

    Mask and bias go in as one dense tensor; more windows than CUDA's grid takes are computed in several calls. Which
    GPU takes what is that of xformers 0.0.35: its CUTLASS kernels end with compute capability 9.0.
    """

    @classmethod
    def unavailable(cls, device_type: str) -> str | None:
        return missing("xformers.ops", install="pip install xformers", device_type=device_type)

    def unsupported_on(self, problem: Problem, device: DeviceFacts) -> list[str]:
        reasons = alignment(problem)
        if device.capability is None or device.capability <= _LAST_CUTLASS:
            return reasons + bfloat16_arithmetic(problem, device)
        # What is left there is FlashAttention.
        flash = half_precision(problem) + no_mask(problem) + no_bias(problem) + head_dim(problem, most=256)
        return reasons + [f"{reason}, on compute capability {spelled(device.capability)}" for reason in flash]

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        from xformers.ops import memory_efficient_attention

        added = window_bias(problem, device=device, bias=bias, alignment=_BIAS_ALIGNMENT)

        def attend(qkv: Tensor) -> Tensor:
            mask = added()
            if mask is not None:  # xformers does not broadcast
                mask = mask.expand(qkv.shape[0], problem.heads, -1, -1)
            outputs = []
            for start in range(0, qkv.shape[0], GRID_LIMIT):
                chunk = slice(start, start + GRID_LIMIT)
                query, key, value = qkv[chunk].unbind(2)
                chunk_mask = None if mask is None else mask[chunk]
                outputs.append(memory_efficient_attention(query, key, value, attn_bias=chunk_mask))
            return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

        return attend
