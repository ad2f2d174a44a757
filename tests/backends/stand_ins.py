"""Stand-ins for what only a GPU can run: the documented signatures, and the refusals of the real ones.

Written after xformers 0.0.35, flash-attn 2.8.3 and torch 2.13. They compute with plain torch in float32, as the real
kernels accumulate, and are differentiable. What the real ones take but no adapter here may need is refused, too.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

GRID_LIMIT = 65_535
"""Largest second and third dimension of a CUDA grid; on purpose not the adapters' own constant."""
_HALF = (torch.float16, torch.bfloat16)
_MAX_FLASH_HEAD_DIM = 256
_HIDDEN = -1e30
"""Hides a key without making rows that have none NaN."""


class StandInError(Exception):
    """An adapter asked for something that the stand-in does not compute."""


def put_package(monkeypatch: pytest.MonkeyPatch, modules: dict[str, dict[str, Callable[..., Any]]]) -> None:
    """Make modules importable until the end of the test.

    Args:
        monkeypatch: Takes them away again.
        modules: Members by module name, packages before what is inside them.
    """
    for name, members in modules.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, loader=None, is_package=True)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
        package, _, last = name.rpartition(".")
        if package:
            setattr(sys.modules[package], last, module)


def _launch(sequences: int) -> None:
    if sequences > GRID_LIMIT:
        raise RuntimeError("CUDA error: invalid configuration argument")


def _attend(query: Tensor, key: Tensor, value: Tensor, *, scale: float, added: Tensor | None = None) -> Tensor:
    """Attention on ``[..., tokens, head_dim]``, computed in float32."""
    scores = query.float() @ key.float().transpose(-2, -1) * scale
    if added is not None:
        scores = scores + added.float()
    return (scores.softmax(dim=-1) @ value.float()).to(query.dtype)


@dataclass(kw_only=True)
class Xformers:
    """``xformers.ops`` with its CUTLASS operator, the only one that takes a tensor as bias."""

    batches: list[int] = field(default_factory=list)
    """First dimension of the query of every call."""

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        members = {"memory_efficient_attention": self.memory_efficient_attention}
        put_package(monkeypatch, {"xformers": {}, "xformers.ops": members})

    def memory_efficient_attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_bias: Tensor | None = None,
        p: float = 0.0,
        scale: float | None = None,
        *,
        op: object = None,
        output_dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Attention on ``[B, M, H, K]``, with a bias ``[B, H, M, M]``."""
        if p or op is not None or output_dtype is not None:
            raise StandInError("dropout, a chosen operator and another output dtype are not computed here")
        self._validate(query, key, value, attn_bias)
        if reasons := self._reasons(query, key, value, attn_bias):
            raise NotImplementedError("No operator found for `memory_efficient_attention`: " + "; ".join(reasons))
        _launch(query.shape[0])
        self.batches.append(query.shape[0])
        # Without a gradient of query, key or value, xformers takes a path that computes none of the bias either.
        differentiable = any(x.requires_grad for x in (query, key, value))
        with torch.set_grad_enabled(torch.is_grad_enabled() and differentiable):
            scale = query.shape[-1] ** -0.5 if scale is None else scale
            heads_first = (x.transpose(1, 2) for x in (query, key, value))
            return _attend(*heads_first, scale=scale, added=attn_bias).transpose(1, 2).contiguous()

    @staticmethod
    def _validate(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> None:
        batch, tokens, heads, _ = query.shape
        for x in (key, value):
            if x.shape != query.shape or x.dtype is not query.dtype or x.device != query.device:
                raise ValueError("query, key and value differ in shape, dtype or device")
        expected = (batch, heads, tokens, tokens)
        if bias is not None and bias.shape != expected:
            raise ValueError(f"Invalid shape for attention bias: {tuple(bias.shape)} (expected {expected})")
        if bias is not None and bias.dtype is not query.dtype:
            raise ValueError(f"bias of dtype {bias.dtype} with a query of dtype {query.dtype}")

    @staticmethod
    def _reasons(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> list[str]:
        alignment = 128 // torch.finfo(query.dtype).bits
        reasons = []
        for name, x in (("query", query), ("key", key), ("value", value)):
            if x.shape[-1] % alignment or x.stride(-2) % alignment or x.stride(-1) != 1:
                reasons.append(f"{name} of shape {tuple(x.shape)} and strides {x.stride()}")
        # Strides count also along dimensions of size 1.
        if bias is not None and (any(stride % alignment for stride in bias.stride()[:-1]) or bias.stride(-1) != 1):
            reasons.append(f"attn_bias of strides {bias.stride()} (multiples of {alignment}, the last one 1)")
        return reasons


@dataclass(kw_only=True)
class FlashAttn:
    """``flash_attn``, version 2.

    The real functions take positions, too; these do not, since the positions differ between versions 2, 3 and 4.
    """

    windows: list[int] = field(default_factory=list)
    """Sequences of every call for sequences of equal length."""
    sequences: list[int] = field(default_factory=list)
    """Sequences of every call for sequences of their own lengths."""
    tokens: list[int] = field(default_factory=list)
    """Tokens of every such call."""

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        members: dict[str, Callable[..., Any]] = {
            "flash_attn_qkvpacked_func": self.flash_attn_qkvpacked_func,
            "flash_attn_varlen_qkvpacked_func": self.flash_attn_varlen_qkvpacked_func,
        }
        put_package(monkeypatch, {"flash_attn": members, "flash_attn.flash_attn_interface": members})

    def flash_attn_qkvpacked_func(
        self,
        *,
        qkv: Tensor,
        dropout_p: float = 0.0,
        softmax_scale: float | None = None,
        causal: bool = False,
        window_size: tuple[int, int] = (-1, -1),
        softcap: float = 0.0,
        alibi_slopes: Tensor | None = None,
        deterministic: bool = False,
        return_attn_probs: bool = False,
    ) -> Tensor:
        """Attention on ``[batch, tokens, 3, heads, head_dim]``."""
        self._only_plain(dropout_p, causal, window_size, softcap, alibi_slopes, deterministic, return_attn_probs)
        self._check(qkv, dimensions=5)
        _launch(qkv.shape[0])
        self.windows.append(qkv.shape[0])
        scale = qkv.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        return _attend(query, key, value, scale=scale).transpose(1, 2).contiguous()

    def flash_attn_varlen_qkvpacked_func(
        self,
        *,
        qkv: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        dropout_p: float = 0.0,
        softmax_scale: float | None = None,
        causal: bool = False,
        window_size: tuple[int, int] = (-1, -1),
        softcap: float = 0.0,
        alibi_slopes: Tensor | None = None,
        deterministic: bool = False,
        return_attn_probs: bool = False,
    ) -> Tensor:
        """Attention on ``[total tokens, 3, heads, head_dim]`` inside every sequence."""
        self._only_plain(dropout_p, causal, window_size, softcap, alibi_slopes, deterministic, return_attn_probs)
        self._check(qkv, dimensions=4)
        lengths = self._lengths(qkv, cu_seqlens, max_seqlen)
        _launch(len(lengths))
        self.sequences.append(len(lengths))
        self.tokens.append(qkv.shape[0])
        scale = qkv.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale
        position = torch.arange(max_seqlen)
        real = position < lengths[:, None]
        index = (cu_seqlens[:-1, None].long() + position).clamp(max=qkv.shape[0] - 1)
        query, key, value = qkv[index].permute(2, 0, 3, 1, 4)
        hidden = torch.zeros(real.shape).masked_fill_(~real, _HIDDEN)[:, None, None, :]
        return _attend(query, key, value, scale=scale, added=hidden).transpose(1, 2)[real]

    @staticmethod
    def _only_plain(
        dropout_p: float,
        causal: bool,
        window_size: tuple[int, int],
        softcap: float,
        alibi_slopes: Tensor | None,
        deterministic: bool,
        return_attn_probs: bool,
    ) -> None:
        asked = (dropout_p, causal, window_size, softcap, alibi_slopes, deterministic, return_attn_probs)
        if asked != (0.0, False, (-1, -1), 0.0, None, False, False):
            raise StandInError(f"only plain attention is computed here, not {asked}")

    @staticmethod
    def _check(qkv: Tensor, *, dimensions: int) -> None:
        if qkv.ndim != dimensions or qkv.shape[-3] != 3:
            raise ValueError(f"qkv of shape {tuple(qkv.shape)}")
        if qkv.dtype not in _HALF:
            raise RuntimeError("FlashAttention only support fp16 and bf16 data type")
        if qkv.shape[-1] > _MAX_FLASH_HEAD_DIM:
            raise RuntimeError("FlashAttention forward only supports head dimension at most 256")
        if qkv.stride(-1) != 1:
            raise RuntimeError("Input tensor must have contiguous last dimension")
        if not qkv.shape[0]:
            raise RuntimeError("batch size must be positive")

    @staticmethod
    def _lengths(qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int) -> Tensor:
        if cu_seqlens.dtype is not torch.int32 or cu_seqlens.ndim != 1 or not cu_seqlens.is_contiguous():
            raise RuntimeError("cu_seqlens_q must have dtype int32, one dimension and be contiguous")
        if cu_seqlens.device != qkv.device:
            raise RuntimeError("cu_seqlens_q must be on CUDA")
        # From here on, the real kernel trusts its caller: a mistake reads or leaves out other tokens.
        lengths = cu_seqlens.diff()
        if int(cu_seqlens[0]) != 0 or int(cu_seqlens[-1]) != qkv.shape[0] or int(lengths.min()) < 1:
            raise ValueError(f"cu_seqlens do not divide {qkv.shape[0]} tokens")
        if type(max_seqlen) is not int or max_seqlen < int(lengths.max()):
            raise ValueError(f"max_seqlen {max_seqlen} with a sequence of {int(lengths.max())} tokens")
        return lengths


@dataclass(kw_only=True)
class CudaSdpa:
    """torch's ``scaled_dot_product_attention`` as it answers on CUDA, where it may run only the enabled kernels."""

    kernels: list[SDPBackend] = field(default_factory=list)
    """What every call ran."""
    allowed: list[list[SDPBackend]] = field(default_factory=list)
    """What every call might have run."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Attention on ``[batch, heads, tokens, head_dim]``, with a mask that is added."""
        switches = {
            SDPBackend.FLASH_ATTENTION: torch.backends.cuda.flash_sdp_enabled(),
            SDPBackend.EFFICIENT_ATTENTION: torch.backends.cuda.mem_efficient_sdp_enabled(),
            SDPBackend.CUDNN_ATTENTION: torch.backends.cuda.cudnn_sdp_enabled(),
            SDPBackend.MATH: torch.backends.cuda.math_sdp_enabled(),
        }
        enabled = [kernel for kernel, on in switches.items() if on]
        self.allowed.append(enabled)
        willing = [kernel for kernel in enabled if self._takes(kernel, query, key, value, attn_mask)]
        if not willing:
            raise RuntimeError("No available kernel. Aborting execution.")
        if willing[0] is SDPBackend.FLASH_ATTENTION:
            _launch(query.shape[0])
        self.kernels.append(willing[0])
        return _attend(query, key, value, scale=1 / math.sqrt(query.shape[-1]), added=attn_mask)

    @staticmethod
    def _takes(kernel: SDPBackend, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> bool:
        if kernel is SDPBackend.MATH:
            return True
        batch, heads, tokens, head_dim = query.shape
        if any(x.stride(-1) != 1 for x in (query, key, value)) or (mask is not None and mask.stride(-1) != 1):
            return False  # sdp_utils_cpp.h, check_last_dim_stride_equals_1_dense: no fused kernel on a GPU
        half = query.dtype in _HALF
        match kernel:
            case SDPBackend.FLASH_ATTENTION:
                return half and mask is None and head_dim <= _MAX_FLASH_HEAD_DIM
            case SDPBackend.EFFICIENT_ATTENTION:
                return head_dim % (8 if half else 4) == 0
            case SDPBackend.CUDNN_ATTENTION:
                learned = mask is not None and mask.requires_grad
                fits = max(batch, heads) <= GRID_LIMIT and head_dim % 8 == 0 and tokens > 1
                return half and fits and not learned
        raise StandInError(f"{kernel} is not known here")


def offsets(lengths: list[int]) -> Tensor:
    """``cu_seqlens`` of sequences of these lengths."""
    ends = [sum(lengths[:count]) for count in range(len(lengths) + 1)]
    assert all(start < end for start, end in pairwise(ends))
    return torch.tensor(ends, dtype=torch.int32)
