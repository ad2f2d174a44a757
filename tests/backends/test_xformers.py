"""The adapter of xformers, over a stand-in for its one function."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from attnbench.backends.xformers import Xformers
from attnbench.core.problem import Bias, Dtype, Mode, Pattern, Problem

from . import stand_ins
from .agreement import HOPPER, MAPS, PADDED, PROBLEMS, as_parameters, disagreement, towers


@pytest.fixture
def xformers(monkeypatch: pytest.MonkeyPatch) -> stand_ins.Xformers:
    stand_in = stand_ins.Xformers()
    stand_in.install(monkeypatch)
    return stand_in


@as_parameters(PROBLEMS)
def test_xformers_agrees_with_the_reference(problem: Problem, xformers: stand_ins.Xformers) -> None:
    backend = Xformers()

    assert backend.unsupported_on(problem, HOPPER) == []
    assert disagreement(backend, problem) == ""
    assert xformers.batches == [problem.batch * problem.windows]


@pytest.mark.parametrize(
    ("head_dim", "dtype", "reasons"),
    [
        (4, Dtype.FLOAT32, []),
        (6, Dtype.FLOAT32, ["head_dim 6 (allowed: multiples of 4 in float32)"]),
        (8, Dtype.FLOAT16, []),
        (12, Dtype.FLOAT16, ["head_dim 12 (allowed: multiples of 8 in float16)"]),
        (12, Dtype.BFLOAT16, ["head_dim 12 (allowed: multiples of 8 in bfloat16)"]),
        (12, Dtype.FLOAT32, []),
    ],
)
def test_head_dims_that_xformers_does_not_align_are_refused(head_dim: int, dtype: Dtype, reasons: list[str]) -> None:
    assert Xformers().unsupported_on(replace(MAPS[0], head_dim=head_dim, dtype=dtype), HOPPER) == reasons


@pytest.mark.parametrize("dtype", [Dtype.FLOAT32, Dtype.FLOAT16])
def test_the_smallest_head_dim_of_every_dtype_runs(dtype: Dtype, xformers: stand_ins.Xformers) -> None:
    assert disagreement(Xformers(), replace(PADDED, head_dim=16 // dtype.bytes, dtype=dtype)) == ""
    assert xformers.batches


@pytest.mark.parametrize("tokens", range(1, 18))
def test_a_bias_is_aligned_for_windows_of_any_number_of_tokens(tokens: int, xformers: stand_ins.Xformers) -> None:
    problem = replace(towers(2, images=2, window=tokens), bias=Bias.RELATIVE, mode=Mode.FORWARD_BACKWARD, heads=2)

    assert disagreement(Xformers(), problem) == ""
    assert xformers.batches == [4]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("bias", Bias)
@pytest.mark.parametrize("pattern", Pattern)
def test_as_many_windows_as_the_grid_takes_are_computed_in_one_call(
    pattern: Pattern, bias: Bias, mode: Mode, xformers: stand_ins.Xformers
) -> None:
    problem = replace(towers(3, images=21_845), pattern=pattern, bias=bias, mode=mode)

    assert disagreement(Xformers(), problem) == ""
    assert xformers.batches == [65_535]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("bias", Bias)
@pytest.mark.parametrize("pattern", Pattern)
def test_more_windows_than_the_grid_takes_are_computed_in_two_calls(
    pattern: Pattern, bias: Bias, mode: Mode, xformers: stand_ins.Xformers
) -> None:
    problem = replace(towers(2, images=32_768), pattern=pattern, bias=bias, mode=mode)

    assert Xformers().unsupported_on(problem, HOPPER) == []
    assert disagreement(Xformers(), problem) == ""
    assert xformers.batches == [65_535, 1]


@pytest.mark.parametrize("pattern", Pattern)
def test_what_was_prepared_gives_every_input_its_own_output(pattern: Pattern, xformers: stand_ins.Xformers) -> None:
    problem = replace(PADDED, pattern=pattern)
    shape = (problem.batch * problem.windows, problem.tokens, 3, problem.heads, problem.head_dim)
    first, second = torch.randn(2, *shape)
    attend = Xformers().prepare(problem, device=torch.device("cpu"), bias=None)

    before = attend(first)

    assert not torch.equal(attend(second), before)
    assert torch.equal(attend(first), before)
    assert len(xformers.batches) == 3
