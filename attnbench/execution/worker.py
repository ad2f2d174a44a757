"""The worker: a fresh process that checks and measures cells, one at a time, for a parent at the other end of a pipe.

It imports only torch, the standard library and attnbench's light modules. Whatever a backend prints, raises or
breaks stays in this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import torch

from attnbench.backends.base import Backend
from attnbench.backends.registry import load
from attnbench.backends.whole_map import effective, refusals
from attnbench.errors import AttnbenchError
from attnbench.execution.messages import (
    BackendAnswer,
    Describe,
    Described,
    Entered,
    Explain,
    Explained,
    Finished,
    MeasureCell,
    Message,
    Ready,
    Refused,
    Stage,
    decode,
    encode,
)
from attnbench.measure.call import Call
from attnbench.measure.check import check, recheck
from attnbench.measure.environment import describe, resolve_device
from attnbench.measure.profile import profile_call
from attnbench.measure.timing import time_call
from attnbench.oracle import Expectation
from attnbench.problem import Mode, Problem
from attnbench.record import Record, Spent, Status

_PR_SET_PDEATHSIG = 1
_LONGEST_REASON = 2000


def main(inbox: int, outbox: int) -> None:
    """Serve messages from file descriptor ``inbox``, answering on ``outbox``, until the parent closes its end."""
    _die_with_parent()
    faulthandler.enable()
    # What a user's own modules are found by, after everything installed.
    sys.path.append(str(Path.cwd()))

    def send(message: Message) -> None:
        data = encode(message)
        while data:
            data = data[os.write(outbox, data) :]

    # What the imports left is never garbage: without this, every collection before timing walks through all of it.
    gc.collect()
    gc.freeze()
    send(Ready())
    with os.fdopen(inbox, "rb") as lines:
        for line in lines:
            send(_answer(decode(line), send))


def _die_with_parent() -> None:
    # A parent that was killed cannot stop its worker; Linux can.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _answer(message: Message, send: Callable[[Message], None]) -> Message:
    match message:
        case Describe():
            return _describe(message)
        case Explain():
            return _explain(message)
        case MeasureCell():
            return Finished(record=_measure(message, send))
    raise ValueError(f"a worker has no answer to {type(message).__name__}")


def _describe(asked: Describe) -> Message:
    torch.set_num_threads(asked.measure.threads)
    try:
        device = resolve_device(asked.device)
    except AttnbenchError as error:
        return Refused(message=str(error))
    _make_current(device)
    backends = tuple(_introduce(name, device.type) for name in asked.backends)
    return Described(environment=describe(device, asked.measure), backends=backends)


def _introduce(name: str, device_type: str) -> BackendAnswer:
    try:
        backend = load(name)
    except AttnbenchError as error:
        # A path was written by whoever runs the suite; a name by a package, which is broken then.
        if ":" in name:
            return BackendAnswer(name=name, invalid=str(error))
        return BackendAnswer(name=name, unavailable=str(error))
    try:
        unavailable = backend.unavailable(device_type)
        if unavailable is not None:
            unavailable = unavailable or "it gave no reason"
    except Exception as error:  # a third party's code
        unavailable = f"asking whether it is available raised {_describe_error(error)}"
    return BackendAnswer(name=name, unavailable=unavailable, pattern=backend.pattern)


def _explain(asked: Explain) -> Message:
    backend = load(asked.backend)()
    reasons = [
        "; ".join(refusals(backend, effective(problem, backend), asked.device_type)) for problem in asked.problems
    ]
    return Explained(reasons=tuple(reasons))


class _Refusal(Exception):
    """Ends a cell with a status and a reason."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass
class _Clock:
    """Adds up the seconds spent in each part of a cell."""

    spent: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def restart(self) -> None:
        self._since = time.perf_counter()

    def lap(self, part: str) -> None:
        now = time.perf_counter()
        self.spent[part] = self.spent.get(part, 0.0) + now - self._since
        self._since = now


def _measure(cell: MeasureCell, send: Callable[[Message], None]) -> Record:
    torch.set_num_threads(cell.measure.threads)
    clock = _Clock()
    if "torch._dynamo" in sys.modules:
        # What one cell compiled must not decide what the next one runs.
        torch._dynamo.reset()  # noqa: SLF001 - its documented name
    record = Record(
        case=cell.case.name,
        backend=cell.backend,
        device=cell.case.device,
        problem=cell.case.problem,
        position=cell.position,
        block=cell.block,
        status=Status.ERROR,
        reason="nothing was measured",
    )
    try:
        backend = load(cell.backend)()
        record = replace(record, problem=effective(cell.case.problem, backend))
        return _measured(record, backend, cell, clock, send)
    except _Refusal as refusal:
        status, reason = refusal.status, refusal.reason
    except Exception as error:  # whatever a backend raises costs its own cell alone
        status = Status.OOM if _is_out_of_memory(error) else Status.ERROR
        reason = _describe_error(error)
    finally:
        clock.lap("prepare_s")  # what a failing cell took since its last part
        if cell.case.device_type == "cuda" and torch.cuda.is_initialized():
            with contextlib.suppress(RuntimeError):  # a broken context: the parent replaces this worker
                torch.cuda.empty_cache()
    return replace(record, status=status, reason=reason[:_LONGEST_REASON] or status, spent=_spent(clock))


def _measured(
    record: Record, backend: Backend, cell: MeasureCell, clock: _Clock, send: Callable[[Message], None]
) -> Record:
    problem, device = record.problem, torch.device(cell.case.device)
    _make_current(device)
    if reasons := refusals(backend, problem, device.type):
        raise _Refusal(Status.UNSUPPORTED, "; ".join(filter(None, reasons)) or "it gave no reason")
    send(Entered(stage=Stage.REFERENCE))
    try:
        expectation = _expectation(problem, str(device), cell.seed)
    except Exception as error:
        status = Status.OOM if _is_out_of_memory(error) else Status.ERROR
        raise _Refusal(status, f"the reference cannot be computed here: {_describe_error(error)}") from None
    clock.lap("check_s")

    send(Entered(stage=Stage.PREPARE))
    call = Call(backend, problem, expectation.inputs)
    x = call.input(expectation.inputs.x.clone())
    outcome = call.outcome(x)
    _synchronize(device)
    clock.lap("prepare_s")

    send(Entered(stage=Stage.MEASURE))
    verdict = check(call, expectation, x, outcome)
    if verdict.reason:
        raise _Refusal(Status.WRONG_RESULT, verdict.reason)
    del outcome
    clock.lap("check_s")

    with torch.inference_mode(problem.mode is Mode.FORWARD):
        profile = profile_call(call, x)
        clock.lap("profile_s")
        timing = time_call(call, x, cache=cell.cache, cache_bytes=cell.cache_bytes, max_time_s=cell.measure.max_time_s)
    clock.spent["warm_up_s"], clock.spent["timed_s"] = timing.warm_up_s, timing.timed_s
    clock.restart()
    if reason := recheck(call, expectation, x):
        raise _Refusal(Status.WRONG_RESULT, reason)
    clock.lap("check_s")
    return replace(
        record,
        status=Status.OK,
        reason="",
        samples_ms=timing.samples_ms,
        calls_per_sample=timing.calls_per_sample,
        host_ms=timing.host_ms,
        peak_bytes=profile.peak_bytes,
        max_error=verdict.max_error,
        kernel=profile.kernel,
        spent=_spent(clock),
    )


def _spent(clock: _Clock) -> Spent:
    return Spent(**clock.spent)


@lru_cache(maxsize=2)
def _expectation(problem: Problem, device: str, seed: int) -> Expectation:
    # The backends of one case follow one another and share it; swin's pattern is the second.
    return Expectation(problem, device=torch.device(device), seed=seed)


def _make_current(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)  # libraries ask and launch on the current device, whatever their inputs' is


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # torch's CPU allocator, and CUDA outside torch's allocator, raise a plain RuntimeError.
    texts = ("DefaultCPUAllocator: can't allocate memory", "CUDA error: out of memory")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


def _describe_error(error: Exception) -> str:
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{said}{_place(error)}"


def _place(error: Exception) -> str:
    """Where a backend raised: the innermost line that is neither ours nor torch's."""
    ours = (str(Path(__file__).resolve().parents[1]), str(Path(torch.__file__).parent))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((*ours, "<")):
            return f" ({Path(frame.filename).name}:{frame.lineno})"
    return ""
