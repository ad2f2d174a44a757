"""What a GPU's compute capability lets a backend compute, held against a library's own answers where it has any."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from attnbench.backends.base import Backend, DeviceFacts
from attnbench.backends.sdpa import Sdpa, SdpaEfficient, SdpaFlash
from attnbench.backends.xformers import Xformers
from attnbench.core.problem import Bias, Dtype, Mode, Pattern, Problem, Scope

from .agreement import HOPPER, MAPS

CAPABILITIES = ((7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0))
MAPS_OF_ALL_KINDS = ((14, 14, 7, 7), (16, 15, 7, 7), (8, 8, 8, 8), (2, 2, 1, 1))


def gpu(capability: tuple[int, int]) -> DeviceFacts:
    return DeviceFacts(type="cuda", capability=capability, memory_bytes=2**34)


def problems() -> Iterator[Problem]:
    fields = product(MAPS_OF_ALL_KINDS, (4, 8, 12, 32, 64, 128, 256, 264), Dtype, Mode, Pattern, Bias)
    for (height, width, rows, columns), head_dim, dtype, mode, pattern, bias in fields:
        yield Problem(
            batch=2, height=height, width=width, window_height=rows, window_width=columns, heads=2, head_dim=head_dim,
            dtype=dtype, mode=mode, pattern=pattern, bias=bias, scope=Scope.WINDOWS,
        )  # fmt: skip


@pytest.mark.skipif(importlib.util.find_spec("xformers") is None, reason="xformers is not installed")
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_what_xformers_has_an_operator_for_is_supported_and_nothing_else(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    logging.disable(logging.CRITICAL)  # it says at length that it was built for CUDA
    try:
        answered = _xformers(monkeypatch, capability)
    finally:
        logging.disable(logging.NOTSET)
    ours = {problem: Xformers().unsupported_on(problem, gpu(capability)) for problem in problems()}
    differ = [
        f"{problem.label}: {ours[problem] or 'supported'}; xformers: {theirs[-300:] or 'an operator'}"
        for problem, theirs in ((problem, answered(problem)) for problem in ours)
        if bool(ours[problem]) != bool(theirs)
    ]
    assert not differ, f"{len(differ)} of {len(ours)}: {differ[:3]}"


def _xformers(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> Any:
    """A function from a problem to why xformers' own dispatch has no operator for it on a pretended GPU."""
    from xformers.ops import fmha
    from xformers.ops.fmha import common, cutlass, dispatch, flash

    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr(common, "_built_with_cuda", True)
    for operator in (flash.FwOp, flash.BwOp, cutlass.FwOp, cutlass.BwOp):
        monkeypatch.setattr(operator, "is_available", lambda: True)
    fake = FakeTensorMode()
    torch._C._ensureCUDADeviceGuardSet()  # so that tensors without data can lie on a device that is not there

    def why_not(problem: Problem) -> str:
        training = problem.mode is Mode.FORWARD_BACKWARD
        dtype = getattr(torch, problem.dtype)
        windows, tokens = problem.batch * problem.windows, problem.tokens
        width = -(-tokens // 8) * 8
        bias = None
        if problem.masked or problem.has_bias:  # of the type that xformers asks for: no fake one, but without data
            strides = (problem.heads * tokens * width, tokens * width, width, 1)  # as the adapter aligns it
            shape = (windows, problem.heads, tokens, tokens)
            learned = training and problem.has_bias
            bias = torch.empty_strided(shape, strides, dtype=dtype, device="meta", requires_grad=learned)
        with fake:
            q, k, v = (
                torch.empty(
                    windows, tokens, problem.heads, problem.head_dim, dtype=dtype, device="cuda", requires_grad=training
                )
                for _ in range(3)
            )
            asked = fmha.Inputs(query=q, key=k, value=v, attn_bias=bias)
            try:
                asked.validate_inputs()
                dispatch._dispatch_fw(asked, training)
                if training:
                    dispatch._dispatch_bw(asked, None)
            except (NotImplementedError, ValueError) as error:
                return " ".join(str(error).split())
        return ""

    return why_not


@pytest.mark.parametrize(("capability", "head_dim", "mode", "reasons"), [
    ((8, 0), 200, Mode.FORWARD_BACKWARD, []),
    ((9, 0), 224, Mode.FORWARD_BACKWARD, []),
    ((8, 6), 192, Mode.FORWARD_BACKWARD, []),
    ((8, 9), 256, Mode.FORWARD_BACKWARD, []),
    ((8, 9), 224, Mode.FORWARD, []),
    ((8, 6), 200, Mode.FORWARD_BACKWARD, [
        "head_dim 200 with mode forward_backward on compute capability 8.6 (allowed: up to 192, or 225 to 256)",
    ]),
    ((12, 0), 224, Mode.FORWARD_BACKWARD, [
        "head_dim 224 with mode forward_backward on compute capability 12.0 (allowed: up to 192, or 225 to 256)",
    ]),
])  # fmt: skip
def test_torchs_flash_kernel_trains_no_large_heads_on_gpus_of_consumers(
    capability: tuple[int, int], head_dim: int, mode: Mode, reasons: list[str]
) -> None:
    asked = replace(MAPS[0], head_dim=head_dim, mode=mode, dtype=Dtype.FLOAT16)
    assert SdpaFlash().unsupported_on(asked, gpu(capability)) == reasons


@pytest.mark.parametrize("backend", [SdpaEfficient, Xformers])
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_bfloat16_needs_arithmetic_for_it(capability: tuple[int, int], backend: type[Backend]) -> None:
    reasons = backend().unsupported_on(replace(MAPS[0], dtype=Dtype.BFLOAT16), gpu(capability))
    too_old = ["dtype bfloat16 on compute capability 7.5 (allowed: 8.0 or later)"]
    assert reasons == (too_old if capability < (8, 0) else [])


@pytest.mark.parametrize("backend", [Sdpa, SdpaEfficient])
@pytest.mark.parametrize(("batch", "mode", "bias", "supported"), [
    (65_535, Mode.FORWARD_BACKWARD, Bias.RELATIVE, True),
    (65_536, Mode.FORWARD_BACKWARD, Bias.RELATIVE, False),
    (65_536, Mode.FORWARD, Bias.RELATIVE, True),
    (65_536, Mode.FORWARD_BACKWARD, Bias.NONE, True),
])  # fmt: skip
def test_the_gradient_of_a_bias_ends_with_the_grid(
    batch: int, mode: Mode, bias: Bias, supported: bool, backend: type[Backend]
) -> None:
    # torch's backward pass in chunks adds a chunk's gradient of the mask to the whole one: their shapes differ.
    asked = Problem(batch=batch, height=2, width=2, window_height=2, window_width=2, heads=1, mode=mode, bias=bias)
    reasons = backend().unsupported_on(asked, HOPPER)
    expected = "batch x windows 65536 (allowed: up to 65535, CUDA's grid limit), for the gradient of bias relative"
    assert reasons == ([] if supported else [expected])
