"""Peak memory to the byte, and what really ran."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.autograd import DeviceType  # type: ignore[attr-defined]

from attnbench.backends.registry import load
from attnbench.worker import profile
from attnbench.worker.call import Call
from attnbench.worker.profile import profile_call
from attnbench.worker.reference import make_inputs
from tests.samples import problem

MEBIBYTE = 2**20


def test_the_peak_counts_what_is_held_at_once_and_not_the_input() -> None:
    x = torch.zeros(MEBIBYTE // 4)

    def call(given: Tensor) -> Tensor:
        first = given + 1  # 1 MiB
        second = torch.cat([first, first])  # 2 MiB more
        del first
        return second[: MEBIBYTE // 4].clone()  # 1 MiB beside the 2

    for _ in range(3):
        assert profile_call(call, x).peak_bytes == 3 * MEBIBYTE


def test_what_is_freed_and_allocated_again_counts_once() -> None:
    def call(given: Tensor) -> Tensor:
        for _ in range(10):
            given = given + 1
        return given

    # Beside the tensors, a few bytes for the number that is added.
    peaks = {profile_call(call, torch.zeros(MEBIBYTE // 4)).peak_bytes for _ in range(3)}
    (peak,) = peaks
    assert 0 <= peak - 2 * MEBIBYTE < 64


def test_naive_attention_holds_scores_and_their_softmax() -> None:
    asked = problem(scope="windows")
    inputs = make_inputs(asked, device=torch.device("cpu"), seed=0)
    call = Call(load("naive")(), asked, inputs)
    with torch.inference_mode():
        peak = profile_call(call, inputs.x).peak_bytes
    scores = 8 * 2 * 49 * 49 * 4
    assert 2 * scores <= peak < 4 * scores


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("sdpa", "_scaled_dot_product_flash_attention_for_cpu"),
        ("sdpa_flash", "_scaled_dot_product_flash_attention_for_cpu"),
        ("sdpa_math", "_scaled_dot_product_attention_math"),
        ("sdpa_5d", "_scaled_dot_product_attention_math"),
    ],
)
@pytest.mark.parametrize("mode", ["forward", "forward_backward"])
def test_the_kernel_is_the_one_torch_dispatched_to(name: str, kernel: str, mode: str) -> None:
    asked = problem(mode=mode)
    inputs = make_inputs(asked, device=torch.device("cpu"), seed=0)
    call = Call(load(name)(), asked, inputs)
    with torch.inference_mode(mode == "forward"):
        assert profile_call(call, call.input(inputs.x)).kernel == kernel


def test_sdpa_with_a_learned_bias_is_caught_running_math_in_training() -> None:
    asked = problem(mode="forward_backward", bias="relative")
    inputs = make_inputs(asked, device=torch.device("cpu"), seed=0)
    call = Call(load("sdpa")(), asked, inputs)
    assert profile_call(call, call.input(inputs.x)).kernel == "_scaled_dot_product_attention_math"


def test_without_fused_attention_the_longest_operator_is_named() -> None:
    matrix = torch.randn(300, 300)
    assert profile_call(lambda x: (x @ x) + 1, matrix).kernel == "mm"


@pytest.mark.parametrize(("ran", "kernel"), [
    # What a profile of a map holds: copies that take longer than the attention between them.
    ({"aten::copy_": 9, "xformers::efficient_attention_forward_cutlass": 0, "aten::_efficient_attention_forward": 3},
     "_efficient_attention_forward"),
    ({"aten::copy_": 9, "flash_attn::_flash_attn_forward": 3}, "flash_attn::_flash_attn_forward"),
    ({"aten::index_select": 9, "xformers_flash::flash_fwd": 3}, "xformers_flash::flash_fwd"),
    ({"aten::copy_": 9, "aten::bmm": 3, "aten::_softmax": 2}, "bmm"),
    ({"## Call CompiledFxGraph fabc ##": 99, "aten::clone": 9, "mine::kernel": 1}, "mine::kernel"),
    ({"aten::_scaled_dot_product_flash_attention_backward": 9, "aten::_scaled_dot_product_flash_attention": 3},
     "_scaled_dot_product_flash_attention"),
    ({"aten::copy_": 9}, ""),
])  # fmt: skip
def test_the_layout_around_attention_is_never_what_ran(ran: dict[str, int], kernel: str) -> None:
    events = [
        SimpleNamespace(name=name, device_type=DeviceType.CPU, self_cpu_time_total=took, self_device_time_total=took)
        for name, took in ran.items()
    ]
    assert profile._operator(events, on_gpu=False) == kernel


def test_the_longest_kernel_is_one_that_computes() -> None:
    ran = {
        "void at::native::elementwise_kernel<direct_copy_kernel_cuda>": 9,
        "void at::native::(anonymous namespace)::indexSelectLargeIndex": 8,
        "Memset (Device)": 20,
        "fmha_cutlassF_f32_aligned_64x64_rf_sm80": 5,
    }
    events = [
        SimpleNamespace(
            name=lambda name=name: name, device_type=lambda: DeviceType.CUDA, duration_ns=lambda took=took: took
        )
        for name, took in ran.items()
    ]
    assert profile._longest_kernel(events) == "fmha_cutlassF_f32_aligned_64x64_rf_sm80"
