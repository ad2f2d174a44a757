"""The adapter of flash-attn 2, over stand-ins for its two functions, which take nothing by position."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from attnbench.backends.flash_attn import FlashAttn
from attnbench.core.files import read
from attnbench.core.problem import Bias, Dtype, Mode, Padding, Pattern, Problem, Scope

from . import stand_ins
from .agreement import HOPPER, MAPS, PADDED, PROBLEMS, as_parameters, disagreement, hides_tokens, towers


@pytest.fixture
def flash_attn(monkeypatch: pytest.MonkeyPatch) -> stand_ins.FlashAttn:
    stand_in = stand_ins.FlashAttn()
    stand_in.install(monkeypatch)
    return stand_in


def _refused(problem: Problem) -> bool:
    return problem.dtype is Dtype.FLOAT32 or problem.bias is Bias.RELATIVE


@as_parameters([problem for problem in PROBLEMS if not _refused(problem)])
def test_flash_attn_agrees_with_the_reference(problem: Problem, flash_attn: stand_ins.FlashAttn) -> None:
    backend = FlashAttn()

    assert backend.unsupported_on(problem, HOPPER) == []
    assert disagreement(backend, problem) == ""
    if hides_tokens(problem):
        assert (len(flash_attn.windows), len(flash_attn.sequences)) == (0, 1)
    else:
        assert (flash_attn.windows, flash_attn.sequences) == ([problem.batch * problem.windows], [])


def test_single_precision_and_bias_are_refused_whatever_else_is_asked() -> None:
    refused = [problem for problem in PROBLEMS if _refused(problem)]

    assert refused
    assert all(FlashAttn().unsupported_on(problem, HOPPER) for problem in refused)


@pytest.mark.parametrize(
    ("asked", "reasons"),
    [
        ({"dtype": Dtype.FLOAT32}, ["dtype float32 (allowed: float16, bfloat16)"]),
        ({"bias": Bias.RELATIVE}, ["bias relative (allowed: none)"]),
        ({"head_dim": 256}, []),
        ({"head_dim": 264}, ["head_dim 264 (allowed: up to 256)"]),
        (
            {"dtype": Dtype.FLOAT32, "bias": Bias.RELATIVE, "head_dim": 264},
            [
                "dtype float32 (allowed: float16, bfloat16)",
                "head_dim 264 (allowed: up to 256)",
                "bias relative (allowed: none)",
            ],
        ),
    ],
    ids=["float32", "bias", "largest head_dim", "larger head_dim", "all at once"],
)
def test_every_reason_holds_the_value_and_what_is_allowed(
    asked: dict[str, Dtype | Bias | int], reasons: list[str]
) -> None:
    problem = read(Problem, {**replace(MAPS[0], dtype=Dtype.FLOAT16).to_json(), **asked})

    assert FlashAttn().unsupported_on(problem, HOPPER) == reasons


@pytest.mark.parametrize("head_dim", [20, 256])
@pytest.mark.parametrize("pattern", Pattern)
def test_odd_and_large_head_dims_are_computed(head_dim: int, pattern: Pattern, flash_attn: stand_ins.FlashAttn) -> None:
    problem = replace(MAPS[0], head_dim=head_dim, pattern=pattern, dtype=Dtype.BFLOAT16, mode=Mode.FORWARD_BACKWARD)

    assert disagreement(FlashAttn(), problem) == ""
    assert flash_attn.windows or flash_attn.sequences


@pytest.mark.parametrize("scope", [Scope.MAP, Scope.WINDOWS])
@pytest.mark.parametrize("pattern", Pattern)
def test_padded_tokens_that_are_masked_are_not_computed(
    pattern: Pattern, scope: Scope, flash_attn: stand_ins.FlashAttn
) -> None:
    problem = replace(PADDED, dtype=Dtype.FLOAT16, padding=Padding.MASKED, pattern=pattern, scope=scope)

    assert disagreement(FlashAttn(), problem) == ""
    assert flash_attn.tokens == [problem.batch * problem.height * problem.width]


def test_padded_tokens_of_zero_padding_are_computed(flash_attn: stand_ins.FlashAttn) -> None:
    problem = replace(PADDED, dtype=Dtype.FLOAT16, padding=Padding.ZERO, pattern=Pattern.SHIFTED)

    assert disagreement(FlashAttn(), problem) == ""
    assert flash_attn.tokens == [problem.batch * problem.windows * problem.tokens]


@pytest.mark.parametrize("mode", Mode)
def test_as_many_windows_as_the_grid_takes_are_computed_in_one_call(
    mode: Mode, flash_attn: stand_ins.FlashAttn
) -> None:
    assert disagreement(FlashAttn(), replace(towers(3, images=21_845), mode=mode)) == ""
    assert flash_attn.windows == [65_535]


@pytest.mark.parametrize("mode", Mode)
def test_more_windows_than_the_grid_takes_are_computed_in_two_calls(
    mode: Mode, flash_attn: stand_ins.FlashAttn
) -> None:
    problem = replace(towers(2, images=32_768), mode=mode)

    assert FlashAttn().unsupported_on(problem, HOPPER) == []
    assert disagreement(FlashAttn(), problem) == ""
    assert flash_attn.windows == [65_535, 1]


@pytest.mark.parametrize("mode", Mode)
def test_as_many_regions_as_the_grid_takes_are_computed_in_one_call(
    mode: Mode, flash_attn: stand_ins.FlashAttn
) -> None:
    # Of two windows, shifted, the last one is two regions.
    problem = replace(towers(2, images=21_845), mode=mode, pattern=Pattern.SHIFTED)

    assert disagreement(FlashAttn(), problem) == ""
    assert flash_attn.sequences == [65_535]


@pytest.mark.parametrize("mode", Mode)
def test_regions_count_and_not_the_windows_they_lie_in(mode: Mode, flash_attn: stand_ins.FlashAttn) -> None:
    problem = replace(towers(3, images=16_384), mode=mode, pattern=Pattern.SHIFTED)
    assert problem.batch * problem.windows == 49_152

    assert disagreement(FlashAttn(), problem) == ""
    assert flash_attn.sequences == [65_535, 1]
    # The last region of every image is the half window that was rolled round the edge.
    assert flash_attn.tokens == [6 * 16_384 - 1, 1]


@pytest.mark.parametrize("mode", Mode)
def test_more_masked_windows_than_the_grid_takes_are_computed_in_two_calls(
    mode: Mode, flash_attn: stand_ins.FlashAttn
) -> None:
    problem = replace(towers(2, images=32_768), height=3, padding=Padding.MASKED, mode=mode)
    assert problem.batch * problem.windows == 65_536

    assert disagreement(FlashAttn(), problem) == ""
    assert flash_attn.sequences == [65_535, 1]
    assert flash_attn.tokens == [3 * 32_768 - 1, 1]


@pytest.mark.parametrize("pattern", Pattern)
def test_what_was_prepared_gives_every_input_its_own_output(pattern: Pattern, flash_attn: stand_ins.FlashAttn) -> None:
    problem = replace(PADDED, pattern=pattern, dtype=Dtype.FLOAT16)
    shape = (problem.batch * problem.windows, problem.tokens, 3, problem.heads, problem.head_dim)
    first, second = torch.randn(2, *shape).half()
    attend = FlashAttn().prepare(problem, device=torch.device("cpu"), bias=None)

    before = attend(first)

    assert not torch.equal(attend(second), before)
    assert torch.equal(attend(first), before)
    assert len(flash_attn.windows + flash_attn.sequences) == 3


@pytest.mark.parametrize("padding", Padding)
def test_regions_are_gathered_each_way_and_never_scattered(padding: Padding, flash_attn: stand_ins.FlashAttn) -> None:
    asked = replace(PADDED, dtype=Dtype.FLOAT16, padding=padding, pattern=Pattern.SHIFTED)
    attend = FlashAttn().prepare(asked, device=torch.device("cpu"), bias=None)
    qkv = torch.randn(asked.batch * asked.windows, asked.tokens, 3, asked.heads, asked.head_dim, dtype=torch.float16)
    qkv.requires_grad_()
    with torch.autograd.profiler.profile() as profiler:
        attend(qkv).sum().backward()
    ran = {event.name for event in profiler.function_events}
    assert "aten::index_select" in ran
    assert ran.isdisjoint({"aten::index_copy", "aten::index_copy_", "aten::index_add_", "aten::scatter_"})
    assert flash_attn.sequences
