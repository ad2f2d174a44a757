"""The reference against a definition spelled out token by token, and verdicts on outcomes that are off."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from attnbench.core.problem import Problem
from attnbench.worker import reference as referencing
from attnbench.worker.reference import BIAS_TABLE, INPUT, Expectation, Inputs, Outcome, make_inputs, reference
from tests.samples import problem

CPU = torch.device("cpu")


def attend_token_by_token(asked: Problem, inputs: Inputs) -> Tensor:
    """Scope map, one query at a time, in plain Python."""
    rows, columns = asked.rows, asked.columns
    qkv = torch.zeros(asked.batch, rows.padded, columns.padded, 3, asked.heads, asked.head_dim, dtype=torch.float64)
    qkv[:, : asked.height, : asked.width] = inputs.x.double()
    out = torch.empty(asked.batch, asked.height, asked.width, asked.heads, asked.head_dim, dtype=torch.float64)
    for image, head in product(range(asked.batch), range(asked.heads)):
        for y, x in product(range(asked.height), range(asked.width)):
            scores, values = [], []
            for key_y, key_x in product(range(rows.padded), range(columns.padded)):
                padded = key_y >= asked.height or key_x >= asked.width
                if (padded and asked.padding == "masked") or not _together(asked, (y, x), (key_y, key_x)):
                    continue
                score = float(qkv[image, y, x, 0, head] @ qkv[image, key_y, key_x, 1, head])
                score /= math.sqrt(asked.head_dim)
                if BIAS_TABLE in inputs.parameters:
                    row = (y - key_y + asked.window_height - 1) * (2 * asked.window_width - 1)
                    row += x - key_x + asked.window_width - 1
                    score += float(inputs.parameters[BIAS_TABLE][row, head])
                scores.append(score)
                values.append(qkv[image, key_y, key_x, 2, head])
            weights = torch.tensor(scores, dtype=torch.float64).softmax(0)
            out[image, y, x, head] = (weights[:, None] * torch.stack(values)).sum(0)
    return out


def _together(asked: Problem, query: tuple[int, int], key: tuple[int, int]) -> bool:
    return all(
        (first + axis.window - axis.shift) // axis.window == (second + axis.window - axis.shift) // axis.window
        for first, second, axis in zip(query, key, (asked.rows, asked.columns), strict=True)
    )


@given(
    height=st.integers(1, 6), width=st.integers(1, 6), data=st.data(), pattern=st.sampled_from(["grouped", "shifted"]),
    padding=st.sampled_from(["zero", "masked"]), bias=st.sampled_from(["none", "relative"]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_the_reference_is_the_definition_token_by_token(
    height: int, width: int, data: st.DataObject, pattern: str, padding: str, bias: str
) -> None:
    asked = problem(
        batch=1, height=height, width=width, heads=2, head_dim=3, pattern=pattern, padding=padding, bias=bias,
        window_height=data.draw(st.integers(1, height)), window_width=data.draw(st.integers(1, width)),
    )  # fmt: skip
    inputs = make_inputs(asked, device=CPU, seed=1)
    torch.testing.assert_close(reference(asked, inputs).output, attend_token_by_token(asked, inputs))


def test_gradients_of_the_reference_are_those_of_small_steps() -> None:
    asked = problem(
        batch=1, height=5, width=4, window_height=3, window_width=2, heads=1, head_dim=2, pattern="shifted",
        bias="relative", mode="forward_backward",
    )  # fmt: skip
    inputs = make_inputs(asked, device=CPU, seed=1)
    exact = reference(asked, inputs)

    def loss(x: Tensor, table: Tensor) -> float:
        moved = Inputs(x=x, parameters={BIAS_TABLE: table}, output_gradient=inputs.output_gradient)
        return float((reference(asked, moved).output * inputs.output_gradient).sum())

    step = 1e-6
    x, table = inputs.x.double(), inputs.parameters[BIAS_TABLE].double()
    for name, values in ((INPUT, x), (BIAS_TABLE, table)):
        for index in range(0, values.numel(), 7):
            slopes = []
            for sign in (1, -1):
                moved = values.clone()
                moved.view(-1)[index] += sign * step
                slopes.append(loss(moved, table) if name == INPUT else loss(x, moved))
            slope = (slopes[0] - slopes[1]) / (2 * step)
            assert slope == pytest.approx(float(exact.gradients[name].reshape(-1)[index]), abs=1e-6)


def test_the_same_seed_gives_the_same_inputs_and_another_one_others() -> None:
    first, again, other = (make_inputs(problem(), device=CPU, seed=seed).x for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_windows_hold_zeros_where_the_map_was_padded() -> None:
    asked = problem(height=15, scope="windows")
    x = make_inputs(asked, device=CPU, seed=0).x
    assert x.shape == (2 * 6, 49, 3, 2, 32)
    last_row_of_windows = x.unflatten(0, (2, 3, 2))[:, 2].unflatten(2, (7, 7))
    assert not last_row_of_windows[:, :, 1:].any()
    assert last_row_of_windows[:, :, 0].all()


@pytest.fixture(scope="module")
def expectation() -> Expectation:
    return Expectation.seeded(problem(dtype="float32", mode="forward_backward", bias="relative"), device=CPU, seed=0)


def exact_outcome(expectation: Expectation) -> Outcome:
    outcome = reference(expectation.problem, expectation.inputs)
    return Outcome(
        output=outcome.output.float(), gradients={name: value.float() for name, value in outcome.gradients.items()}
    )


def test_the_reference_itself_passes(expectation: Expectation) -> None:
    verdict = expectation.verdict(exact_outcome(expectation).tensors)
    assert not verdict.reason
    assert 0 < verdict.max_error < 1e-6


def test_one_wrong_element_is_found(expectation: Expectation) -> None:
    outcome = exact_outcome(expectation)
    outcome.output[1, 3, 2, 1, 5] += 1e-4
    assert expectation.verdict(outcome.tensors).reason.startswith("output is off by 0.0001 (allowed: ")


def test_not_a_number_never_passes(expectation: Expectation) -> None:
    outcome = exact_outcome(expectation)
    outcome.output[0, 0, 0, 0, 0] = math.nan
    assert "output holds NaN" in expectation.verdict(outcome.tensors).reason


@pytest.mark.parametrize("name", [INPUT, BIAS_TABLE])
def test_a_wrong_gradient_is_found_even_where_the_output_is_right(expectation: Expectation, name: str) -> None:
    outcome = exact_outcome(expectation)
    outcome.gradients[name].view(-1)[3] += 0.01
    assert expectation.verdict(outcome.tensors).reason.startswith(f"gradient of {name} is off by 0.01")


def test_a_missing_gradient_is_found(expectation: Expectation) -> None:
    outcome = exact_outcome(expectation)
    del outcome.gradients[BIAS_TABLE]
    assert expectation.verdict(outcome.tensors).reason == f"no gradient of {BIAS_TABLE}"


def test_another_shape_or_dtype_is_found(expectation: Expectation) -> None:
    outcome = exact_outcome(expectation)
    flat = Outcome(output=outcome.output.flatten(3), gradients=outcome.gradients)
    assert expectation.verdict(flat.tensors).reason == "output of shape (2, 14, 14, 64) (allowed: (2, 14, 14, 2, 32))"
    double = Outcome(output=outcome.output.double(), gradients=outcome.gradients)
    assert expectation.verdict(double.tensors).reason == "output of dtype torch.float64 (allowed: float32)"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_bound_of_half_precision_is_far_below_what_a_mistake_makes(dtype: str) -> None:
    asked = problem(dtype=dtype)
    expectation = Expectation.seeded(asked, device=CPU, seed=0)
    assert expectation.bounds["output"] < 0.1
    shifted = Expectation.seeded(problem(dtype=dtype, pattern="shifted"), device=CPU, seed=0)
    assert expectation.verdict(reference_of(shifted).tensors).reason


def reference_of(expectation: Expectation) -> Outcome:
    dtype = expectation.inputs.x.dtype
    return Outcome(output=reference(expectation.problem, expectation.inputs).output.to(dtype), gradients={})


def truncated(x: Tensor) -> Tensor:
    """Float64 to float32, towards zero, as tensor cores add."""
    rounded = x.float()
    return torch.where(rounded.double().abs() > x.abs(), rounded.nextafter(torch.zeros_like(rounded)), rounded)


def tf32(x: Tensor) -> Tensor:
    """The ten leading bits of the mantissa."""
    return (x.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32)


def on_tensor_cores(left: Tensor, right: Tensor, *, split: bool) -> Tensor:
    """A matrix product of float32, eight terms at a time; ``split``: each number as a sum of two of TF32."""
    parts = [(tf32(left), tf32(right))]
    if split:
        parts = [(tf32(left - parts[0][0]), parts[0][1]), (parts[0][0], tf32(right - parts[0][1])), *parts]
    total = left.new_zeros(*left.shape[:-1], right.shape[-1])
    for first in range(0, left.shape[-1], 8):
        some = slice(first, first + 8)
        for one, other in parts:
            total = truncated(total.double() + one[..., some].double() @ other[..., some, :].double())
    return total


@pytest.mark.parametrize("side", [7, 28, 40])
def test_torchs_own_float32_on_tensor_cores_passes_and_plain_tf32_does_not(side: int) -> None:
    # One window of side x side tokens, as in a sweep over windows.
    asked = problem(batch=1, height=side, width=side, window_height=side, window_width=side, heads=1)
    expectation = Expectation.seeded(asked, device=CPU, seed=0)
    query, key, value = expectation.inputs.x.flatten(1, 2).permute(2, 0, 3, 1, 4)

    def attended(*, split: bool) -> str:
        scores = on_tensor_cores(query, key.transpose(-2, -1), split=split) * asked.head_dim**-0.5
        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        out = on_tensor_cores(weights, value, split=split) / weights.sum(-1, keepdim=True)
        return expectation.verdict(
            {"output": out.transpose(1, 2).reshape(expectation.inputs.output_gradient.shape)}
        ).reason

    assert attended(split=True) == ""
    assert "from the float64 reference" in attended(split=False)


def test_a_key_that_is_left_out_is_found_in_the_largest_windows() -> None:
    side = 56
    asked = problem(batch=1, height=side, width=side, window_height=side, window_width=side, heads=1)
    expectation = Expectation.seeded(asked, device=CPU, seed=0)
    query, key, value = expectation.inputs.x.flatten(1, 2).permute(2, 0, 3, 1, 4)
    out = torch.nn.functional.scaled_dot_product_attention(query, key[:, :, 1:], value[:, :, 1:]).transpose(1, 2)
    shape = expectation.inputs.output_gradient.shape
    assert expectation.verdict({"output": out.reshape(shape)}).reason


@pytest.mark.parametrize("scope", ["map", "windows", "layer"])
def test_a_batch_in_slices_gives_what_it_gives_at_once(scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = problem(batch=5, height=5, width=7, window_height=2, window_width=3, mode="forward_backward",
                    bias="relative", pattern="shifted", scope=scope)  # fmt: skip
    inputs = make_inputs(asked, device=CPU, seed=3)
    whole = reference(asked, inputs)
    # Scores of one image: 2 heads of 6 x 9 tokens that see 6 each.
    monkeypatch.setattr(referencing, "_SCORES_AT_ONCE", 2 * (2 * 6 * 9 * 6))
    batches: list[int] = []
    right = referencing._reference

    def counted(part: Problem, *rest: Any) -> Outcome:
        batches.append(part.batch)
        return right(part, *rest)

    monkeypatch.setattr(referencing, "_reference", counted)
    sliced = reference(asked, inputs)
    assert batches == [2, 2, 1]
    for name, tensor in whole.tensors.items():
        torch.testing.assert_close(sliced.tensors[name], tensor, rtol=0, atol=1e-12)


def test_the_largest_published_training_case_needs_no_more_than_a_card_of_24_gb() -> None:
    # Twins-SVT-L, stage 1, batch 192 in training. A backward pass holds scores, weights and their gradients.
    asked = problem(batch=192, height=56, width=56, window_height=7, window_width=7, heads=4)
    scores = asked.heads * asked.height * asked.width * asked.tokens
    at_once = max(1, referencing._SCORES_AT_ONCE // scores) * scores
    assert asked.batch * scores > 3 * at_once
    assert 4 * 8 * at_once < 2 * 2**30
