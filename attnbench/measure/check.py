"""Is what a call computes right? Asked before it is timed, and once more afterwards."""

from __future__ import annotations

from collections.abc import Callable

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


def check_replay(call: Call, replay: Callable[[Tensor], object], expectation: Expectation, x: Tensor) -> str:
    """What is wrong with what a CUDA graph of a call gives; empty where nothing is.

    Args:
        call: What was captured.
        replay: Runs the graph; it gives the same tensors every time, with new values in them.
        expectation: What it must give.
        x: The input that was captured.
    """
    result = replay(x)
    for tensor in result if isinstance(result, tuple) else (result,):
        if isinstance(tensor, Tensor):
            tensor.zero_()  # what stood there before must not pass for what a replay computes
    replay(x)
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return expectation.disagreement(call.named(result))


def _modified(expectation: Expectation, x: Tensor) -> str:
    return "" if torch.equal(x, expectation.inputs.x) else "the input was modified in place"
