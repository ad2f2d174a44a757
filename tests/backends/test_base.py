"""What nobody implemented is refused: by every backend with a reason, by the reference and the cost as a mistake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch

from attnbench.backends import registry
from attnbench.backends.base import Backend, refusals
from attnbench.core.cost import cost
from attnbench.core.problem import Problem
from attnbench.core.shipped_backends import SHIPPED
from attnbench.worker.reference import make_inputs, reference
from tests.backends.agreement import CPU, HOPPER
from tests.samples import problem

NEW = {"pattern": "dilated", "padding": "reflect", "bias": "alibi", "scope": "model"}


def with_new(field: str, **fields: Any) -> Problem:
    """A problem with a value that an enumeration may come to hold, and no part of attnbench knows."""
    changed = problem(**fields)
    object.__setattr__(changed, field, NEW[field])
    return changed


@pytest.mark.parametrize("field", NEW)
@pytest.mark.parametrize("name", SHIPPED)
def test_a_backend_refuses_values_that_it_was_not_written_for(name: str, field: str) -> None:
    reasons = refusals(registry.load(name)(), with_new(field), HOPPER)
    assert len(reasons) == 1
    assert reasons[0].startswith(f"{field} {NEW[field]} (allowed: ")


@pytest.mark.parametrize("field", NEW)
def test_cost_and_reference_know_nothing_of_them(field: str) -> None:
    uneven = {"height": 15}
    with pytest.raises(AssertionError):
        cost(with_new(field, **uneven))
    inputs = make_inputs(problem(**uneven), device=torch.device("cpu"), seed=0)
    with pytest.raises(AssertionError):
        reference(with_new(field, **uneven), inputs)


def test_a_backend_may_be_written_for_more() -> None:
    class Dilated(Backend):
        takes: ClassVar[Mapping[str, frozenset[Any]]] = {**Backend.takes, "pattern": frozenset({"dilated"})}

        def prepare(self, problem: Problem, *, device: torch.device, bias: torch.Tensor | None) -> Any: ...

    assert refusals(Dilated(), with_new("pattern"), CPU) == []
    assert refusals(Dilated(), problem(), CPU) == ["pattern grouped (allowed: dilated)"]
