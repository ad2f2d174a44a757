"""The backends over torch's SDPA: what they refuse on which device, and that they pin what they say."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend

from attnbench.backends import sdpa
from attnbench.backends.base import Backend
from attnbench.backends.sdpa import Sdpa, SdpaCudnn, SdpaEfficient, SdpaFlash, SdpaMath
from attnbench.core.problem import Bias, Dtype, Mode, Padding, Pattern, Problem

from . import stand_ins
from .agreement import CPU, HOPPER, MAPS, PADDED, PROBLEMS, as_parameters, disagreement, hides_tokens, towers

HALF = replace(PADDED, dtype=Dtype.FLOAT16)
LEARNED = replace(HALF, bias=Bias.RELATIVE, mode=Mode.FORWARD_BACKWARD)
NO_GRADIENT = "bias relative with mode forward_backward: no gradient for it (allowed: bias none, or forward)"
ON_CUDA: list[tuple[type[Backend], SDPBackend]] = [
    (SdpaFlash, SDPBackend.FLASH_ATTENTION),
    (SdpaEfficient, SDPBackend.EFFICIENT_ATTENTION),
    (SdpaCudnn, SDPBackend.CUDNN_ATTENTION),
    (SdpaMath, SDPBackend.MATH),
]


@pytest.fixture
def cuda_sdpa(monkeypatch: pytest.MonkeyPatch) -> stand_ins.CudaSdpa:
    stand_in = stand_ins.CudaSdpa()
    monkeypatch.setattr(sdpa, "scaled_dot_product_attention", stand_in)
    return stand_in


def _refused(backend: type[Backend], problem: Problem) -> bool:
    single, learned = problem.dtype is Dtype.FLOAT32, problem.bias is Bias.RELATIVE
    if backend is SdpaFlash:
        return single or learned or hides_tokens(problem)
    if backend is SdpaCudnn:
        return single or (learned and problem.mode is Mode.FORWARD_BACKWARD)
    return False


@as_parameters(PROBLEMS)
def test_a_pinned_kernel_is_the_one_that_runs_and_agrees_or_says_why_it_cannot(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    for backend, kernel in ON_CUDA:
        cuda_sdpa = stand_ins.CudaSdpa()
        monkeypatch.setattr(sdpa, "scaled_dot_product_attention", cuda_sdpa)
        reasons = backend().unsupported_on(problem, HOPPER)

        assert bool(reasons) == _refused(backend, problem), backend
        if not reasons:
            assert disagreement(backend(), problem) == "", backend
            assert cuda_sdpa.allowed == [[kernel]], backend
            assert cuda_sdpa.kernels == [kernel], backend


@as_parameters([problem for problem in PROBLEMS if problem.bias is Bias.RELATIVE])
def test_a_relative_bias_does_not_drive_sdpa_out_of_the_fused_kernels(
    problem: Problem, cuda_sdpa: stand_ins.CudaSdpa
) -> None:
    assert disagreement(Sdpa(), problem) == ""
    assert cuda_sdpa.kernels != [SDPBackend.MATH]


def test_the_fused_kernel_of_the_cpu_refuses_the_gradient_of_a_bias_alone() -> None:
    for problem in PROBLEMS:
        learned = problem.bias is Bias.RELATIVE and problem.mode is Mode.FORWARD_BACKWARD
        assert SdpaFlash().unsupported_on(problem, CPU) == ([NO_GRADIENT] if learned else []), problem.label


@pytest.mark.parametrize(
    ("backend", "problem", "reasons"),
    [
        (SdpaFlash, HALF, []),
        (SdpaFlash, replace(HALF, dtype=Dtype.FLOAT32), ["dtype float32 (allowed: float16, bfloat16)"]),
        (SdpaFlash, replace(HALF, pattern=Pattern.SHIFTED), ["pattern shifted needs a mask (allowed: grouped)"]),
        (
            SdpaFlash,
            replace(HALF, padding=Padding.MASKED),
            ["padding masked of map 5x7 needs a mask (allowed: zero)"],
        ),
        (SdpaFlash, replace(HALF, bias=Bias.RELATIVE), ["bias relative (allowed: none)"]),
        (SdpaFlash, replace(HALF, head_dim=256), []),
        (SdpaFlash, replace(HALF, head_dim=264), ["head_dim 264 (allowed: up to 256)"]),
        # One window covers the map: nothing is rolled, nothing is padded, no mask is needed.
        (
            SdpaFlash,
            replace(MAPS[4], dtype=Dtype.FLOAT16, pattern=Pattern.SHIFTED, padding=Padding.MASKED),
            [],
        ),
        (
            SdpaFlash,
            replace(towers(3, images=21_846), dtype=Dtype.FLOAT32, bias=Bias.RELATIVE, head_dim=264),
            [
                "dtype float32 (allowed: float16, bfloat16)",
                "bias relative (allowed: none)",
                "batch x windows 65538 (allowed: up to 65535, CUDA's grid limit)",
                "head_dim 264 (allowed: up to 256)",
            ],
        ),
        (SdpaCudnn, LEARNED, [NO_GRADIENT]),
        (SdpaCudnn, replace(LEARNED, mode=Mode.FORWARD), []),
        (SdpaCudnn, replace(LEARNED, bias=Bias.NONE, pattern=Pattern.SHIFTED), []),
        (SdpaCudnn, replace(HALF, dtype=Dtype.FLOAT32), ["dtype float32 (allowed: float16, bfloat16)"]),
        (SdpaCudnn, replace(HALF, head_dim=12), ["head_dim 12 (allowed: multiples of 8 up to 128)"]),
        (SdpaCudnn, replace(HALF, heads=65_536), ["heads 65536 (allowed: up to 65535)"]),
        (SdpaEfficient, LEARNED, []),
        (SdpaEfficient, replace(HALF, head_dim=12), ["head_dim 12 (allowed: multiples of 8 in float16)"]),
        (SdpaEfficient, replace(MAPS[0], head_dim=12), []),
        (SdpaEfficient, replace(MAPS[0], head_dim=6), ["head_dim 6 (allowed: multiples of 4 in float32)"]),
        (SdpaMath, replace(LEARNED, dtype=Dtype.FLOAT32, head_dim=7), []),
        (Sdpa, replace(LEARNED, dtype=Dtype.FLOAT32, head_dim=7), []),
    ],
)
def test_every_reason_on_cuda_holds_the_value_and_what_is_allowed(
    backend: type[Backend], problem: Problem, reasons: list[str]
) -> None:
    assert backend().unsupported_on(problem, HOPPER) == reasons


def test_a_shifted_map_with_masked_padding_has_two_reasons_for_a_mask() -> None:
    problem = replace(HALF, pattern=Pattern.SHIFTED, padding=Padding.MASKED)

    assert SdpaFlash().unsupported_on(problem, HOPPER) == [
        "pattern shifted needs a mask (allowed: grouped)",
        "padding masked of map 5x7 needs a mask (allowed: zero)",
    ]


def test_cudnn_refuses_windows_of_one_token() -> None:
    # sdp_utils.cpp, check_cudnn_tensor_shapes: "cudnn SDPA does not support key/value sequence length 1".
    assert SdpaCudnn().unsupported_on(towers(2, images=1, window=1), HOPPER)
    assert SdpaCudnn().unsupported_on(towers(2, images=1, window=2), HOPPER) == []


@pytest.mark.parametrize("backend", [Sdpa, SdpaFlash, SdpaCudnn])
def test_kernels_that_do_not_split_their_batch_declare_the_grid_limit(
    backend: type[Backend], cuda_sdpa: stand_ins.CudaSdpa
) -> None:
    most, too_many = towers(3, images=21_845), towers(2, images=32_768)

    assert backend().unsupported_on(most, HOPPER) == []
    assert disagreement(backend(), most) == ""
    assert len(cuda_sdpa.kernels) == 1
    reason = "batch x windows 65536 (allowed: up to 65535, CUDA's grid limit)"
    assert backend().unsupported_on(too_many, HOPPER) == [reason]


@pytest.mark.parametrize("backend", [SdpaEfficient, SdpaMath])
def test_kernels_that_split_their_batch_declare_no_grid_limit(backend: type[Backend]) -> None:
    assert backend().unsupported_on(towers(2, images=32_768), HOPPER) == []


def test_the_fused_kernel_of_the_cpu_has_no_grid() -> None:
    problem = towers(2, images=32_768)

    assert SdpaFlash().unsupported_on(problem, CPU) == []
    assert disagreement(SdpaFlash(), problem) == ""


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (SdpaCudnn, "torch has no cuDNN kernel on cpu (allowed: cuda)"),
        (SdpaEfficient, "torch has no memory-efficient kernel on cpu (allowed: cuda)"),
        (SdpaFlash, None),
        (SdpaMath, None),
        (Sdpa, None),
    ],
)
def test_kernels_that_torch_has_on_cuda_only_say_so(backend: type[Backend], reason: str | None) -> None:
    assert backend.unavailable("cpu") == reason


def test_a_torch_without_cudnn_is_told_from_a_device_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: False)
    assert SdpaCudnn.unavailable("cuda") == "this torch was built without cuDNN"
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: True)
    assert SdpaCudnn.unavailable("cuda") is None
