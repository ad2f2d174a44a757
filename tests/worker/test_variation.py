"""Outputs for varied inputs follow from those for the plain ones, so that nobody can know them beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from attnbench.core.problem import Bias, Dtype, Mode, Padding, Pattern, Problem, Scope
from attnbench.core.protocol import Variation
from attnbench.testing import Disagreement, check_problem, sample_problems
from attnbench.worker.call import Call
from attnbench.worker.reference import INPUT, OUTPUT, Expectation, Inputs, make_inputs, reference
from attnbench.worker.variation import OneImage, restored, rolls, vary_input, vary_rest
from tests.faults import Faulty, RemembersFirst
from tests.samples import problem

CPU = torch.device("cpu")
PLAIN = Variation()
MOVED = Variation(move=1001)
FIELDS = list(product(Scope, Mode, Bias, Pattern, Padding))


def alike(asked: Problem) -> Iterator[Problem]:
    """Small problems like this one, of every geometry, of one image and of several."""
    same = ("scope", "mode", "bias", "pattern", "padding", "dtype")
    for one in sample_problems():
        if all(getattr(one, name) is getattr(asked, name) for name in same):
            yield from (replace(one, batch=batch) for batch in (1, 2))


def copied(inputs: Inputs) -> Inputs:
    parameters = {name: value.clone() for name, value in inputs.parameters.items()}
    return Inputs(x=inputs.x.clone(), parameters=parameters, output_gradient=inputs.output_gradient.clone())


def vary(asked: Problem, inputs: Inputs, variation: Variation, since: Variation = PLAIN) -> None:
    vary_input(asked, inputs.x, variation, since)
    vary_rest(asked, inputs, variation, since)


def tensors(inputs: Inputs) -> list[Tensor]:
    return [inputs.x, inputs.output_gradient, *inputs.parameters.values()]


def plain_and_moved(asked: Problem) -> tuple[Inputs, Inputs]:
    plain = make_inputs(asked, device=CPU, seed=0)
    moved = copied(plain)
    vary(asked, moved, MOVED)
    return plain, moved


def some_variation(asked: Problem) -> Variation:
    return Variation(signs=5, roll=rolls(asked) - 1)


every_kind = pytest.mark.parametrize("asked", [
    problem(scope=scope, mode=mode, bias=bias, pattern=pattern, padding=padding)
    for scope, mode, bias, pattern, padding in FIELDS
], ids=["-".join(fields) for fields in FIELDS])  # fmt: skip


@every_kind
def test_what_varied_inputs_give_is_known_from_the_plain_ones(asked: Problem) -> None:
    for one in alike(asked):
        inputs = make_inputs(one, device=CPU, seed=0)
        plain = reference(one, inputs).tensors
        varied, variation = copied(inputs), some_variation(one)
        vary(one, varied, variation)
        found = restored(one, reference(one, varied).tensors, variation)
        assert found.keys() == plain.keys()
        for name, expected in plain.items():
            torch.testing.assert_close(found[name], expected, atol=1e-12, rtol=0, msg=f"{name} on {one.label}")


@every_kind
def test_of_one_image_it_is_known_what_a_map_that_has_moved_must_give(asked: Problem) -> None:
    for one in alike(asked):
        inputs, moved = plain_and_moved(one)
        found = {name: value.to(inputs.x.dtype) for name, value in reference(one, moved).tensors.items()}
        for image in range(one.batch):
            known = OneImage(Expectation(one, inputs), MOVED, image=image)
            assert not known.verdict(found, timed=False).reason, one.label
            for name, value in found.items():
                wrong = {**found, name: value + 1e-3}
                ignored = one.batch > 1 and name not in (INPUT, OUTPUT)
                assert bool(known.verdict(wrong, timed=False).reason) is not ignored, (name, one.label)


@every_kind
def test_nothing_of_what_a_map_gives_is_what_it_gave_before_it_moved(asked: Problem) -> None:
    for one in alike(asked):
        inputs, moved = plain_and_moved(one)
        before, after = (reference(one, given).output for given in (inputs, moved))
        known = set(before.flatten().abs().tolist())
        real = [value for value in after.flatten().abs().tolist() if value]
        assert not known.intersection(real), one.label


@every_kind
def test_inputs_that_are_varied_and_varied_back_are_the_same_to_the_bit(asked: Problem) -> None:
    for one in alike(replace(asked, dtype=Dtype.BFLOAT16)):
        inputs = make_inputs(one, device=CPU, seed=0)
        varied, since = copied(inputs), PLAIN
        for variation in (some_variation(one), Variation(signs=9), MOVED, Variation(roll=rolls(one) - 1), PLAIN):
            vary(one, varied, variation, since)
            since = variation
        assert all(map(torch.equal, tensors(varied), tensors(inputs))), one.label


@pytest.mark.parametrize("dtype", list(Dtype))
@pytest.mark.parametrize("scope", list(Scope))
def test_one_variation_after_another_is_the_second_one(scope: Scope, dtype: Dtype) -> None:
    asked = problem(scope=scope, dtype=dtype, batch=3)
    first, second = Variation(signs=5, roll=1), Variation(signs=9, roll=2)
    inputs = make_inputs(asked, device=CPU, seed=0)
    one_by_one, at_once = copied(inputs), copied(inputs)
    vary(asked, one_by_one, first)
    assert not torch.equal(one_by_one.x, inputs.x)
    vary(asked, one_by_one, second, first)
    vary(asked, at_once, second)
    assert all(map(torch.equal, tensors(one_by_one), tensors(at_once)))


def test_every_seed_draws_signs_of_its_own() -> None:
    asked = problem(heads=4)
    inputs = make_inputs(asked, device=CPU, seed=0)
    found = []
    for seed in range(20):
        varied = copied(inputs)
        vary(asked, varied, Variation(signs=seed))
        found.append(tuple((varied.x / inputs.x)[0, 0, 0, 2].flatten().tolist()))
    assert len(set(found)) == len(found)
    assert set(found[0]) == {1.0}
    assert set(found[1]) == {1.0, -1.0}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"batch": 1}, 2),
        ({"batch": 1, "height": 28, "width": 7}, 4),
        ({"batch": 1, "height": 15}, 2),
        ({"batch": 1, "width": 15, "heads": 3}, 3),
        ({"batch": 1, "pattern": "shifted", "heads": 1}, 1),
        ({"batch": 5}, 5),
        ({"batch": 5, "height": 15, "pattern": "shifted"}, 5),
    ],
)
def test_images_change_places_and_of_one_image_its_rows_of_windows_where_they_are_alike_or_else_its_heads(
    fields: dict[str, object], expected: int
) -> None:
    assert {rolls(problem(**fields, scope=scope)) for scope in Scope} == {expected}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("scope", list(Scope))
def test_a_backend_that_remembers_what_it_gave_is_wrong_for_every_variation(scope: Scope, batch: int) -> None:
    asked = problem(scope=scope, batch=batch, height=14 if batch > 1 else 15)
    expectation = Expectation.seeded(asked, device=CPU, seed=0)
    backend = RemembersFirst()
    call = Call(backend, asked, expectation.inputs)
    x = expectation.inputs.x.clone()
    assert not expectation.verdict(call.outcome(x).tensors).reason
    for variation in (Variation(signs=5), some_variation(asked)):
        vary_input(asked, x, variation, PLAIN)
        vary_rest(asked, call.rest(x), variation, PLAIN)
        verdict = expectation.verdict(restored(asked, call.outcome(x).tensors, variation))
        assert verdict.reason.startswith("output is off by")
        vary_input(asked, x, PLAIN, variation)
        vary_rest(asked, call.rest(x), PLAIN, variation)


class RemembersWeights(Faulty):
    """Computes who looks at whom once, and only ever mixes new values."""

    weights: Tensor | None = None

    def attend(self, qkv: Tensor) -> Tensor:
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        if self.weights is None:
            self.weights = (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(-1)
        return (self.weights @ value).transpose(1, 2)


@pytest.mark.parametrize(
    "fields",
    [
        {"batch": 2},
        {"batch": 1},
        pytest.param({"batch": 1, "height": 15}),
        pytest.param({"batch": 1, "height": 7}),
    ],
)
def test_a_backend_that_remembers_who_looks_at_whom_is_found(fields: dict[str, object]) -> None:
    with pytest.raises(Disagreement, match="for a second input, output is off by"):
        check_problem(RemembersWeights(), problem(**fields), CPU)


@pytest.mark.parametrize("scope", list(Scope))
def test_gradients_that_were_remembered_are_wrong_for_every_variation(scope: Scope) -> None:
    asked = problem(scope=scope, mode="forward_backward", bias="relative", batch=1, height=15)
    expectation = Expectation.seeded(asked, device=CPU, seed=0)
    remembered = {
        name: value.to(expectation.inputs.x.dtype)
        for name, value in reference(asked, expectation.inputs).tensors.items()
    }
    gradients = {name: value for name, value in remembered.items() if name != "output"}
    assert not expectation.verdict(gradients, timed=True).reason
    verdict = expectation.verdict(restored(asked, gradients, Variation(signs=5)), timed=True)
    assert verdict.reason.startswith("gradient of ")


def test_what_is_restored_leaves_what_was_found_as_it_is() -> None:
    asked = problem(mode="forward_backward", batch=3)
    found = reference(asked, make_inputs(asked, device=CPU, seed=0)).tensors
    before = {name: value.clone() for name, value in found.items()}
    restored(asked, found, Variation(signs=5, roll=1))
    assert all(torch.equal(found[name], value) for name, value in before.items())


def test_the_plain_inputs_are_a_variation_that_changes_nothing() -> None:
    asked = problem(mode="forward_backward", batch=3)
    found = reference(asked, make_inputs(asked, device=CPU, seed=0)).tensors
    same = restored(asked, found, PLAIN)
    assert all(torch.equal(same[name], value) for name, value in found.items())
