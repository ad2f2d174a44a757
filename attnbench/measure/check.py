"""Is what a call computes right? Asked before it is timed, and once more afterwards."""

from __future__ import annotations

import torch
from torch import Tensor

from attnbench.measure.call import Call
from attnbench.oracle import Expectation, Outcome, Verdict


def check(call: Call, expectation: Expectation, x: Tensor, first: Outcome) -> Verdict:
    """Compare a call with the reference: its outcome, and that it is a function of its input and nothing else.

    Args:
        call: A prepared call.
        expectation: What it must give.
        x: The input that ``first`` was computed from.
        first: The outcome of the first call.
    """
    verdict = expectation.verdict(first)
    if verdict.reason:
        return verdict
    other = call.input(expectation.other_input())
    if reason := expectation.other_disagreement(call.output(other)):
        return Verdict(max_error=verdict.max_error, reason=f"for a second input, {reason}")
    if modified := _modified(expectation, x):
        return Verdict(max_error=verdict.max_error, reason=modified)
    if expectation.verdict(first).reason:
        reason = "the first output changed when the function was called again"
        return Verdict(max_error=verdict.max_error, reason=reason)
    return verdict


def recheck(call: Call, expectation: Expectation, x: Tensor) -> str:
    """What is wrong with a call after it was called many times; empty where nothing is."""
    if modified := _modified(expectation, x):
        return modified
    if reason := expectation.verdict(call.outcome(x)).reason:
        return f"right when it was checked, but after it was timed {reason}"
    return ""


def _modified(expectation: Expectation, x: Tensor) -> str:
    return "" if torch.equal(x, expectation.inputs.x) else "the input was modified in place"
