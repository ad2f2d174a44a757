"""The reference against a definition spelled out token by token, and verdicts on outcomes that are off."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from attnbench.core.problem import Problem
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
    return Expectation(problem(dtype="float32", mode="forward_backward", bias="relative"), device=CPU, seed=0)


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
    expectation = Expectation(asked, device=CPU, seed=0)
    assert expectation.bounds["output"] < 0.1
    shifted = Expectation(problem(dtype=dtype, pattern="shifted"), device=CPU, seed=0)
    assert expectation.verdict(reference_of(shifted).tensors).reason


def reference_of(expectation: Expectation) -> Outcome:
    dtype = expectation.inputs.x.dtype
    return Outcome(output=reference(expectation.problem, expectation.inputs).output.to(dtype), gradients={})
