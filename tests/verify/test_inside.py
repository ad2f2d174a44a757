"""Faults of the harness, injected one by one: ``verify`` finds each, in the process that has torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from attnbench.core.problem import Axis, Problem
from attnbench.core.record import Rate
from attnbench.core.verification import Answer, Figure
from attnbench.worker import profile, reference, timing, verification
from attnbench.worker.verification import clocks, definition, rates

CPU = torch.device("cpu")


def found(name: str) -> list[Figure]:
    return verification.checked(verification.CHECKS[name], name, CPU)


@pytest.mark.parametrize("name", ["reference", "memory"])
def test_an_honest_harness_passes_what_no_busy_machine_can_spoil(name: str) -> None:
    assert {figure.answer for figure in found(name)} == {Answer.PASS}


@pytest.mark.live
@pytest.mark.parametrize("name", ["agreement", "cold", "copy", "product"])
def test_an_honest_harness_passes_what_it_measures(name: str) -> None:
    assert {figure.answer for figure in found(name)} == {Answer.PASS}


@pytest.mark.live
@pytest.mark.parametrize("pace", [0.9, 1.1])
def test_a_clock_that_is_off_by_a_tenth_is_found(pace: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_now_ns", lambda: round(pace * time.perf_counter_ns()))
    (figure,) = found("agreement")
    assert figure.answer is Answer.FAIL
    assert figure.value == pytest.approx(pace, rel=0.06)


def test_a_flush_that_does_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "flush_buffer", lambda *_, **__: None)
    hot = clocks.cold_beside_hot
    # What is timed is the same twice: noise alone could make one of two slower by a tenth, not both times.
    assert min(next(iter(hot(CPU))).value or 0 for _ in range(5)) < 1.1


@pytest.mark.parametrize("wrong", [
    "the mask of a shifted map", "the mask of padding", "the bias", "the scale", "padding before the projection",
])  # fmt: skip
def test_a_reference_that_computes_another_function_is_found(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right_groups, right_bias, right_attend = reference._groups, reference._pairwise_bias, reference._attend_group
    match wrong:
        case "the mask of a shifted map":
            monkeypatch.setattr(
                reference, "_groups", lambda axis: right_groups(replace(axis, shift=axis.shift - bool(axis.shift)))
            )
        case "the mask of padding":
            monkeypatch.setattr(Problem, "hides_padding", property(lambda _: False))
            monkeypatch.setattr(definition, "_sees", _blind_to_padding(definition._sees))
        case "the bias":
            monkeypatch.setattr(reference, "_pairwise_bias", lambda *given: right_bias(*given).transpose(0, 2))
        case "the scale":
            monkeypatch.setattr(reference, "_attend_group", lambda part, *rest: right_attend(1.001 * part, *rest))
        case "padding before the projection":
            pad = reference._pad
            monkeypatch.setattr(reference, "_pad", lambda x, problem: pad(x, problem) + 1e-6)
    (figure,) = found("reference")
    assert figure.answer is Answer.FAIL
    assert "differs by" in figure.broken


def _blind_to_padding(sees: Callable[[Axis, int, int], bool]) -> Callable[[Axis, int, int], bool]:
    """As if the definition still hid what the reference now shows."""
    return lambda axis, query, key: sees(axis, query, key) and key < axis.size


def test_a_memory_counter_that_misses_the_output_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = profile._allocated_at_peak
    monkeypatch.setattr(profile, "_allocated_at_peak", lambda events: right(events) - 2**22)
    (figure,) = found("memory")
    assert figure.answer is Answer.FAIL
    assert "an output alone measures as 0.000" in figure.broken


def test_a_memory_counter_that_adds_up_what_was_freed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def summed(events: Iterable[Any]) -> int:
        return sum(max(0, event.nbytes()) for event in events if event.name() == "[memory]")

    monkeypatch.setattr(profile, "_allocated_at_peak", summed)
    (figure,) = found("memory")
    assert figure.answer is Answer.FAIL


@pytest.mark.parametrize(("name", "check"), [("copy_rate", "copy"), ("product_rate", "product")])
def test_a_ceiling_that_counts_half_the_work_is_found(name: str, check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The second way is pretended, so that a busy machine cannot hide it.
    monkeypatch.setattr(rates, "_moved", lambda *_: 2e10)
    monkeypatch.setattr(rates, "_timed", lambda *_: 2e10)
    for claimed, answer in ((2e10, Answer.PASS), (1e10, Answer.FAIL), (4e10, Answer.FAIL)):
        monkeypatch.setattr(rates, name, lambda *_, claimed=claimed: Rate(per_s=claimed, spread=0.0))
        assert {figure.answer for figure in found(check)} == {answer}


def test_what_failed_once_on_a_busy_machine_is_checked_once_more() -> None:
    values = iter([1.5, 1.0, 1.5, 1.5])

    def check(_: torch.device) -> Iterable[Figure]:
        yield Figure(check="copy", of="something", value=next(values), least=0.9, most=1.1)

    assert [one.answer for one in verification.checked(lambda d: iter(check(d)), "copy", CPU)] == [Answer.PASS]
    assert [one.answer for one in verification.checked(lambda d: iter(check(d)), "copy", CPU)] == [Answer.FAIL]


def test_a_check_that_raises_fails_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Tensor) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(definition, "reference", lambda *_: broken(torch.zeros(1)))
    (figure,) = found("reference")
    assert figure.answer is Answer.FAIL
    assert "no such operator" in figure.broken


def test_published_layers_that_are_not_installed_are_not_here() -> None:
    for figure in found("published"):
        assert figure.answer in (Answer.NOT_HERE, Answer.PASS), figure
