"""A problem that a backend is prepared for, in its process: called, sampled and shown as the parent asks.

What measures here is bound before the backend's module is imported.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attnbench.backends.base import Backend, WrongOutputError, check_plain
from attnbench.core.problem import Mode
from attnbench.core.protocol import (
    CallAgain,
    Called,
    KeepCalling,
    Message,
    Outcome,
    Prepare,
    Profile,
    Profiled,
    Show,
    TakeTurn,
    Tensors,
    Turned,
    Variation,
    WarmedUp,
    WarmUp,
)
from attnbench.core.record import Launch, Status
from attnbench.worker import tensors
from attnbench.worker.call import Call
from attnbench.worker.failure import describe_error
from attnbench.worker.profile import profile_call
from attnbench.worker.reference import Inputs
from attnbench.worker.timing import NotCapturable, Sampler, captured, flush_buffer, sampler
from attnbench.worker.variation import vary_input, vary_rest

_PLAIN = Variation()
_BATCH_S = 0.01
_now = time.monotonic


class Refusal(Exception):
    """Ends a cell with a status and a reason."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Prepared:
    """A backend at work on one problem.

    Args:
        backend: The backend.
        asked: The problem, and how to launch what was prepared.
        device: Where.
        inputs: The file that they lie in.
        outputs: The file that they shall lie in.
    """

    def __init__(self, backend: Backend, asked: Prepare, device: torch.device, inputs: int, outputs: int) -> None:
        self._problem, self._launch, self._device, self._outputs = asked.problem, asked.launch, device, outputs
        self._forward = asked.problem.mode is Mode.FORWARD
        self._plain = tensors.map_tensors(inputs, asked.inputs)
        parameters = {name: value for name, value in self._plain.items() if name not in ("x", "output_gradient")}
        given = Inputs(
            x=self._plain["x"].to(device),
            parameters={name: value.to(device) for name, value in parameters.items()},
            output_gradient=self._plain["output_gradient"].to(device),
        )
        self._call = Call(backend, asked.problem, given)
        self._input = self._call.input(given.x.clone())
        self._rest = self._call.rest(self._input)
        self._varied = _PLAIN
        """How they are now: a change is applied to what the last one left."""
        self._looked_at = False
        """Whether its input was compared since the last call."""
        self._timed: Callable[[Tensor], Any] = self._call
        self._sampler: Sampler | None = None

    def close(self) -> None:
        """Let go of the file for outputs."""
        os.close(self._outputs)

    def answer(self, message: Message) -> Message:
        """Do what the parent asks for."""
        self._looked_at &= isinstance(message, Show)
        with torch.inference_mode(self._forward):
            match message:
                case CallAgain():
                    return self._again(message.variation)
                case Profile():
                    return self._profile()
                case WarmUp():
                    return self._warm_up(message)
                case TakeTurn():
                    return self._take_turn(message)
                case Show():
                    return self._show(message)
                case KeepCalling():
                    return self._keep_calling(message.seconds)
        raise ValueError(f"a participant has no answer to {type(message).__name__}")

    def first(self, *, is_checked: bool) -> Outcome:
        """The outcome of the first call, if it is wanted: whatever compiles, compiles here."""
        with torch.inference_mode(self._forward):
            found = self._outcome()
        self._first = found if is_checked else {}
        return self._told(found) if is_checked else Outcome(tensors=Tensors())

    def _outcome(self) -> dict[str, Tensor]:
        found = self._call.outcome(self._input).tensors
        self._synchronize()
        return found

    def _again(self, variation: Variation) -> Outcome:
        self._vary(variation)
        second = self._outcome()
        first = {f"first {name}": value for name, value in self._first.items()}
        self._first = {}
        if self._launch is Launch.GRAPH:
            try:
                self._timed = captured(self._call, self._input)
            except NotCapturable as error:
                said = f"no CUDA graph can hold it (measure.launch: graph): {error}"
                raise Refusal(Status.UNSUPPORTED, said) from None
        return self._told({**second, **first})

    def _profile(self) -> Profiled:
        profile = profile_call(self._call, self._input)
        kept = [self._input, self._rest.output_gradient, *self._rest.parameters.values()]
        held = self._call.layout_bytes + sum(value.numel() * value.element_size() for value in kept)
        return Profiled(peak_bytes=profile.peak_bytes, held_bytes=held, kernel=profile.kernel)

    def _warm_up(self, asked: WarmUp) -> WarmedUp:
        try:
            flush = flush_buffer(self._device, cache=asked.cache, cache_bytes=asked.cache_bytes)
        except Exception as error:
            raise Refusal(Status.OOM, f"no room to overwrite the cache: {describe_error(error)}") from None
        self._sampler = sampler(self._timed, self._device, flush)
        self._sampler.warm_up(self._input, settle=asked.settle)
        return WarmedUp(calls_per_loop=self._sampler.calls, expected_s=self._sampler.longest_s)

    def _take_turn(self, asked: TakeTurn) -> Turned:
        assert self._sampler is not None, "nothing was warmed up"
        began = _now()
        gc.collect(1)  # what came since the last turn; all of it would take as long as a turn
        self._vary(asked.variation)
        self._synchronize()
        turn = self._sampler.take_turn(self._input, asked.budget_s)
        fresh_ms = None
        if asked.afterwards is not None:  # last: now nothing is cold but what the call may have remembered
            self._vary(asked.afterwards)
            self._synchronize()
            fresh_ms = self._sampler.once(self._input)
        return Turned(
            samples_ms=turn.samples_ms,
            calls=turn.calls,
            called_s=turn.called_s,
            timed_s=turn.timed_s,
            fresh_ms=fresh_ms,
            whole_s=_now() - began,
            page_faults=turn.page_faults,
            involuntary_switches=turn.involuntary_switches,
            host_ms=self._sampler.host_ms,
            late_s=turn.late_s,
        )

    def _show(self, asked: Show) -> Outcome:
        assert self._sampler is not None, "nothing was timed"
        return self._told(self._call.named(self._sampler.results[asked.what]))

    def _keep_calling(self, seconds: float) -> Called:
        times_s, calls, done = [_now()], [0], 0
        at_once = 1
        while times_s[-1] - times_s[0] < seconds:
            for _ in range(at_once):
                self._timed(self._input)
            self._synchronize()
            done += at_once
            times_s.append(_now())
            calls.append(done)
            at_once = max(1, int(at_once * _BATCH_S / max(times_s[-1] - times_s[-2], 1e-6)))
        return Called(times_s=tuple(times_s), calls=tuple(calls))

    def _vary(self, variation: Variation) -> None:
        vary_input(self._problem, self._input.detach(), variation, self._varied)
        vary_rest(self._problem, self._rest, variation, self._varied, gradient=not self._forward)
        self._varied = variation

    def _told(self, found: dict[str, Any]) -> Outcome:
        for name, value in found.items():
            _check_stored(name, value, self._device)
        return Outcome(tensors=tensors.write_tensors(self._outputs, found), modified=self._modified())

    def _modified(self) -> bool:
        """Whether the input is not what it should be."""
        if self._looked_at:
            return False
        self._looked_at = True
        expected = self._plain["x"].to(self._device, copy=True)
        vary_input(self._problem, expected, self._varied, _PLAIN)
        return not torch.equal(self._input.detach(), expected)

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _check_stored(name: str, value: Any, device: torch.device) -> None:
    """See that what stands for an output is all there, on the device that was timed.

    Raises:
        WrongOutputError: It is not.
    """
    check_plain(value)
    if value.layout is not torch.strided or value.device.type != device.type or value.is_neg() or value.is_conj():
        found = (
            f"{value.layout} on {value.device}{', a view that computes later' * (value.is_neg() or value.is_conj())}"
        )
        raise WrongOutputError(f"{name} is {found} (allowed: torch.strided on {device})")
