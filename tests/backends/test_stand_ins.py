"""The stand-ins refuse what the real packages refuse; otherwise they would prove nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .stand_ins import FlashAttn, StandInError, Xformers, offsets


def _packed(*shape: int) -> Tensor:
    return torch.randn(*shape, 3, 2, 8).half()


def _aligned_bias(*shape: int) -> Tensor:
    return torch.randn(*shape, 8).half()[..., :5]


def test_xformers_computes_attention_with_an_aligned_bias() -> None:
    query, key, value = _packed(3, 5).unbind(2)
    bias = _aligned_bias(3, 2, 5)

    found = Xformers().memory_efficient_attention(query, key, value, attn_bias=bias)

    query, key, value = (x.float().transpose(1, 2) for x in (query, key, value))
    exact = scaled_dot_product_attention(query, key, value, attn_mask=bias.float()).transpose(1, 2)
    torch.testing.assert_close(found, exact.half(), rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("bias", "error"),
    [
        (torch.zeros(3, 2, 5, 5).half(), NotImplementedError),
        (torch.zeros(3, 5, 5, 8).half().permute(0, 3, 1, 2)[:, :2], NotImplementedError),
        (torch.zeros(3, 1, 5, 8).half()[..., :5], ValueError),
        (torch.zeros(1, 2, 5, 8).half()[..., :5], ValueError),
        (torch.zeros(3, 2, 5, 8)[..., :5], ValueError),
    ],
    ids=["unaligned rows", "heads last", "one head", "one window", "other dtype"],
)
def test_xformers_refuses_a_bias_it_could_not_read(bias: Tensor, error: type[Exception]) -> None:
    query, key, value = _packed(3, 5).unbind(2)

    with pytest.raises(error):
        Xformers().memory_efficient_attention(query, key, value, attn_bias=bias)


def test_xformers_takes_a_bias_expanded_without_a_copy() -> None:
    query, key, value = _packed(3, 5).unbind(2)
    bias = _aligned_bias(1, 1, 5).expand(3, 2, 5, 5)

    assert Xformers().memory_efficient_attention(query, key, value, attn_bias=bias).shape == query.shape


def test_xformers_and_flash_attn_fail_beyond_the_grid() -> None:
    qkv = torch.zeros(65_536, 1, 3, 1, 8, dtype=torch.float16)
    query, key, value = qkv.unbind(2)
    every_token = torch.arange(65_537, dtype=torch.int32)

    with pytest.raises(RuntimeError, match="invalid configuration"):
        Xformers().memory_efficient_attention(query, key, value)
    with pytest.raises(RuntimeError, match="invalid configuration"):
        FlashAttn().flash_attn_qkvpacked_func(qkv=qkv)
    with pytest.raises(RuntimeError, match="invalid configuration"):
        FlashAttn().flash_attn_varlen_qkvpacked_func(qkv=qkv.flatten(0, 1), cu_seqlens=every_token, max_seqlen=1)


def test_flash_attn_computes_every_sequence_for_itself() -> None:
    qkv = _packed(9).requires_grad_()
    lengths = [4, 1, 3, 1]

    found = FlashAttn().flash_attn_varlen_qkvpacked_func(qkv=qkv, cu_seqlens=offsets(lengths), max_seqlen=4)
    apart = [FlashAttn().flash_attn_qkvpacked_func(qkv=part[None])[0] for part in qkv.split(lengths)]

    torch.testing.assert_close(found, torch.cat(apart))
    gradients = [torch.autograd.grad(out.sum(), qkv)[0] for out in (found, torch.cat(apart))]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    "qkv",
    [torch.zeros(2, 5, 3, 2, 8), torch.zeros(2, 5, 3, 2, 264).half(), torch.zeros(2, 5, 3, 8, 2).half().mT],
    ids=["float32", "head_dim", "strides"],
)
def test_flash_attn_refuses_what_its_kernels_cannot_read(qkv: Tensor) -> None:
    with pytest.raises(RuntimeError):
        FlashAttn().flash_attn_qkvpacked_func(qkv=qkv)


@pytest.mark.parametrize(
    ("cu_seqlens", "max_seqlen", "error"),
    [
        (offsets([4, 5]).long(), 5, RuntimeError),
        (offsets([4, 4]), 5, ValueError),
        (offsets([4, 5])[1:], 5, ValueError),
        (offsets([4, 5]), 4, ValueError),
    ],
    ids=["int64", "tokens left over", "tokens left out", "too short"],
)
def test_flash_attn_refuses_offsets_that_do_not_fit(
    cu_seqlens: Tensor, max_seqlen: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        FlashAttn().flash_attn_varlen_qkvpacked_func(qkv=_packed(9), cu_seqlens=cu_seqlens, max_seqlen=max_seqlen)


def test_flash_attn_takes_nothing_by_position() -> None:
    with pytest.raises(TypeError):
        FlashAttn().flash_attn_qkvpacked_func(_packed(2, 5))  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        FlashAttn().flash_attn_varlen_qkvpacked_func(_packed(9), offsets([4, 5]), 5)  # type: ignore[call-arg]


def test_the_stand_ins_compute_plain_attention_only() -> None:
    query, key, value = _packed(3, 5).unbind(2)

    with pytest.raises(StandInError):
        Xformers().memory_efficient_attention(query, key, value, p=0.1)
    with pytest.raises(StandInError):
        FlashAttn().flash_attn_qkvpacked_func(qkv=_packed(3, 5), window_size=(3, 3))
