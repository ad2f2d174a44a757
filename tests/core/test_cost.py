"""Work by formula: against hand-computed cases, published figures, and torch's counter where it counts right."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from attnbench.backends.registry import load
from attnbench.core.cost import cost, visible_pairs
from attnbench.core.problem import Problem
from attnbench.worker.call import Call
from attnbench.worker.reference import make_inputs
from tests.samples import problem


def test_two_tokens_in_one_window_cost_what_one_counts_by_hand() -> None:
    # Scores: 2 x 2 of 4 multiply-adds; output: 2 x 4 of 2 multiply-adds. 32 in all, each two operations.
    tiny = problem(batch=1, height=1, width=2, window_height=1, window_width=2, heads=1, head_dim=4)
    assert cost(tiny).flops == 64
    # Three inputs and one output of 2 x 4 elements of 4 bytes.
    assert cost(tiny).bytes == 4 * 8 * 4
    assert cost(tiny).intensity == 64 / 128


def test_a_backward_pass_costs_twice_its_forward_pass() -> None:
    assert cost(problem(mode="forward_backward")).flops == 3 * cost(problem()).flops


def test_gradients_double_the_bytes() -> None:
    # In: qkv (3) and the output's gradient (1). Out: output (1) and qkv's gradient (3). Forward alone moves 4.
    assert cost(problem(mode="forward_backward")).bytes == 2 * cost(problem()).bytes


def test_half_precision_halves_the_bytes_and_not_the_operations() -> None:
    assert 2 * cost(problem(dtype="bfloat16")).bytes == cost(problem()).bytes
    assert cost(problem(dtype="bfloat16")).flops == cost(problem()).flops


def test_a_bias_table_is_read_once() -> None:
    assert cost(problem(bias="relative")).bytes - cost(problem()).bytes == 13 * 13 * 2 * 4


def test_the_largest_map_costs_no_more_time_than_a_small_one() -> None:
    side = 2**31 - 1
    whole = side // 7
    shifted = problem(batch=1, height=side, width=side, pattern="shifted", padding="masked")
    assert whole**2 * 49**2 < visible_pairs(problem(batch=1, height=side, width=side)) < (whole + 1) ** 2 * 49**2
    assert visible_pairs(shifted) < visible_pairs(problem(batch=1, height=side, width=side))


# Multiply-adds of LSA's matmuls per layer and image (Chu et al. 2021, table 2; facts of the published models).
@pytest.mark.parametrize(("stage", "multiply_adds"), [(0, 19_668_992), (1, 9_834_496), (2, 4_917_248), (3, 2_458_624)])
def test_the_stages_of_svt_s_cost_what_is_published(stage: int, multiply_adds: int) -> None:
    side, heads = 56 >> stage, 2 << stage
    assert cost(problem(batch=1, height=side, width=side, heads=heads)).flops == 2 * multiply_adds


@pytest.mark.parametrize(
    ("heads", "depths", "expected_giga"),
    [
        ((2, 4, 8, 16), (2, 2, 10, 4), 0.118),
        ((3, 6, 12, 24), (2, 2, 18, 2), 0.229),
        ((4, 8, 16, 32), (2, 2, 18, 2), 0.305),
    ],
)
def test_the_published_models_differ_by_the_attention_their_counters_miss(
    heads: tuple[int, ...], depths: tuple[int, ...], expected_giga: float
) -> None:
    """The paper's and the README's FLOPs columns differ by the matmuls of LSA and of sub-sampled attention."""
    total = 0
    for stage, (stage_heads, depth) in enumerate(zip(heads, depths, strict=True)):
        side = 56 >> stage
        local = cost(problem(batch=1, height=side, width=side, heads=stage_heads)).flops // 2
        # Every other block attends globally to 7 x 7 keys: the same 49 keys a query as LSA's.
        total += depth * local
    assert total / 1e9 == pytest.approx(expected_giga, abs=0.0006)


@pytest.mark.parametrize("stage", range(4))
def test_projections_of_svt_s_cost_the_same_in_every_stage(stage: int) -> None:
    side, heads = 56 >> stage, 2 << stage
    shape = {"batch": 1, "height": side, "width": side, "heads": heads}
    projections = cost(problem(**shape, scope="layer")).flops - cost(problem(**shape)).flops
    assert projections == 2 * 51_380_224


@given(
    height=st.integers(1, 12), width=st.integers(1, 12), data=st.data(),
    pattern=st.sampled_from(["grouped", "shifted"]), padding=st.sampled_from(["zero", "masked"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_visible_pairs_are_those_one_counts_token_by_token(
    height: int, width: int, data: st.DataObject, pattern: str, padding: str
) -> None:
    asked = problem(
        height=height, width=width, pattern=pattern, padding=padding,
        window_height=data.draw(st.integers(1, height)), window_width=data.draw(st.integers(1, width)),
    )  # fmt: skip
    assert visible_pairs(asked) == _count_pairs(asked)


def _count_pairs(asked: Problem) -> int:
    rows, columns = asked.rows, asked.columns
    pairs = 0
    for query in product(range(asked.height), range(asked.width)):
        for key in product(range(rows.padded), range(columns.padded)):
            real = key[0] < asked.height and key[1] < asked.width
            together = all(
                (q + axis.window - axis.shift) // axis.window == (k + axis.window - axis.shift) // axis.window
                for q, k, axis in zip(query, key, (rows, columns), strict=True)
            )
            pairs += together and (real or asked.padding == "zero")
    return pairs


@pytest.mark.parametrize("mode", ["forward", "forward_backward"])
@pytest.mark.parametrize("scope", ["map", "windows", "layer"])
def test_torch_counts_the_same_for_unfused_attention(mode: str, scope: str) -> None:
    asked = problem(mode=mode, scope=scope)
    inputs = make_inputs(asked, device=torch.device("cpu"), seed=0)
    call = Call(load("naive")(), asked, inputs)
    x = call.input(inputs.x)
    with FlopCounterMode(display=False) as counter:
        # Not call.outcome: the counter's hooks on modules do not bear torch.autograd.grad.
        output = call._forward(x)
        if mode == "forward_backward":
            output.backward(inputs.output_gradient)
    assert counter.get_total_flops() == cost(asked).flops
