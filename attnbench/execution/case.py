"""One case inside a worker: its backends prepared and checked one by one, sampled in turn, checked again."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from attnbench.backends.registry import load
from attnbench.backends.whole_map import effective, refusals
from attnbench.conditions import Conditions
from attnbench.execution.cell import Cell, Clock, Refusal, Spoiled
from attnbench.execution.failure import describe_error, is_out_of_memory
from attnbench.execution.messages import Entered, Finished, MeasureCase, Message, Stage
from attnbench.measure.call import Call
from attnbench.measure.ceilings import measure_ceilings
from attnbench.measure.check import check, check_replay, recheck
from attnbench.measure.conditions import Monitor
from attnbench.measure.energy import joules_per_call
from attnbench.measure.environment import device_works, gpu_uuid, make_current
from attnbench.measure.nvml import managed_gpu
from attnbench.measure.profile import profile_call
from attnbench.measure.state import TorchState
from attnbench.measure.timing import (
    NotCapturable,
    Sampler,
    captured,
    flush_buffer,
    no_garbage_collection,
    sampler,
    turns,
)
from attnbench.oracle import Expectation
from attnbench.problem import Dtype, Mode, Problem
from attnbench.record import Ceilings, Launch, Record, Spent, Status

_PRISTINE = TorchState.now()
"""Before any backend is loaded."""


def measure_case(asked: MeasureCase, send: Callable[[Message], None]) -> None:
    """Prepare and check every backend, sample those that are right in turn, and send a record for each.

    After a failure that may harm others (a broken device context, no memory left) the record says so, and the rest of
    the case is left to another worker.
    """
    own = replace(_PRISTINE, threads=asked.measure.threads)
    own.restore()
    if "torch._dynamo" in sys.modules:
        # What one case compiled must not decide what the next one runs.
        torch._dynamo.reset()  # noqa: SLF001 - its documented name
    device = torch.device(asked.case.device)
    with contextlib.suppress(Spoiled), torch.inference_mode(asked.case.problem.mode is Mode.FORWARD):
        _measure(asked, device, own, send)
    _free(device)


@contextlib.contextmanager
def _at_home(cell: Cell, own: TorchState) -> Iterator[None]:
    """Let a cell run with the switches of torch that it set itself, and nobody else with them.

    Raises:
        Refusal: It set the number of threads, which is the suite's.
    """
    (cell.state or own).restore()
    try:
        yield
    finally:
        cell.state = TorchState.now()
        own.restore()
    if cell.state.threads != own.threads:
        raise Refusal(
            Status.ERROR,
            f"it set torch's CPU threads to {cell.state.threads} (allowed: {own.threads}, measure.threads)",
        )


def _measure(asked: MeasureCase, device: torch.device, own: TorchState, send: Callable[[Message], None]) -> None:
    running: list[Cell] = []
    try:
        flush = flush_buffer(device, cache=asked.cache, cache_bytes=asked.cache_bytes)
    except Exception as error:
        for backend, position in zip(asked.backends, asked.positions, strict=True):
            cell = Cell(record=_unmeasured(asked, backend, position))
            cell.fail(Refusal(Status.OOM, f"no room to overwrite the cache: {describe_error(error)}"))
            send(Finished(record=cell.record))
        return
    gpu = managed_gpu(gpu_uuid(device))
    monitor = Monitor(threads=asked.measure.threads, gpu=gpu)
    shared = Clock()
    ceilings = _ceilings(str(device), asked.case.problem.dtype, asked.cache_bytes)
    shared.lap("ceilings_s")
    for backend, position in zip(asked.backends, asked.positions, strict=True):
        cell = Cell(record=_unmeasured(asked, backend, position))
        cell.clock.spent |= shared.spent  # the first one pays for what all of them use
        shared.spent.clear()
        try:
            with _at_home(cell, own):
                x, timed = _prepare(cell, asked, send)
                if gpu is not None and asked.block == 0:
                    # Seconds of our own making: they count against the long deadline.
                    send(Entered(backend=backend, stage=Stage.PREPARE))
                    cell.record = replace(cell.record, joules=joules_per_call(timed, x, gpu))
                    cell.clock.lap("profile_s")
                cell.timed, cell.record = timed, replace(cell.record, ceilings=ceilings)
                cell.sampler = sampler(timed, x, flush, monitor.glance)
            running.append(cell)
        except Exception as error:  # whatever a backend raises costs its own cell alone
            _give_up(cell, error, device, send)
    monitor.start()
    _sample(running, asked, own, device, send)
    conditions = monitor.conditions()
    for cell in running:
        if cell.sampler is None:
            continue
        send(Entered(backend=cell.record.backend, stage=Stage.MEASURE))
        try:
            with _at_home(cell, own):
                _finish(cell, conditions)
        except Exception as error:
            _give_up(cell, error, device, send)
        else:
            send(Finished(record=cell.record))


def _give_up(cell: Cell, error: Exception, device: torch.device, send: Callable[[Message], None]) -> None:
    """Send a failed cell's record.

    Raises:
        Spoiled: Nothing that is measured here from now on can be trusted.
    """
    cell.fail(error)
    spoiled = (
        cell.record.status is Status.OOM or (isinstance(error, Refusal) and error.spoils) or not device_works(device)
    )
    send(Finished(record=cell.record, spoiled=spoiled))
    if spoiled:
        raise Spoiled
    _free(device)


def _unmeasured(asked: MeasureCase, backend: str, position: int) -> Record:
    return Record(
        case=asked.case.name,
        backend=backend,
        device=asked.case.device,
        problem=asked.case.problem,
        position=position,
        block=asked.block,
        status=Status.ERROR,
        reason="nothing was measured",
    )


def _prepare(
    cell: Cell, asked: MeasureCase, send: Callable[[Message], None]
) -> tuple[Tensor, Callable[[Tensor], object]]:
    """Everything before the first sample.

    Returns:
        The input, and what is to be timed on it.

    Raises:
        Refusal: The cell ends here.
    """
    name, clock, device = cell.record.backend, cell.clock, torch.device(asked.case.device)
    send(Entered(backend=name, stage=Stage.REFERENCE))
    backend = load(name)()
    problem = effective(asked.case.problem, backend)
    cell.record = replace(cell.record, problem=problem)
    make_current(device)
    if reasons := refusals(backend, problem, device.type):
        raise Refusal(Status.UNSUPPORTED, "; ".join(filter(None, reasons)) or "it gave no reason")
    try:
        with torch.inference_mode(mode=False):
            expectation = cell.expectation = _expectation(problem, str(device), asked.seed, asked.shelf)
    except Exception as error:
        status = Status.OOM if is_out_of_memory(error) else Status.ERROR
        raise Refusal(status, f"the reference cannot be computed here: {describe_error(error)}") from None
    clock.lap("check_s")

    send(Entered(backend=name, stage=Stage.PREPARE))
    with torch.inference_mode(mode=False):
        call = cell.call = Call(backend, problem, expectation.inputs)
        x = cell.x = call.input(expectation.inputs.x.clone())
    outcome = call.outcome(x)
    _synchronize(device)
    clock.lap("prepare_s")

    send(Entered(backend=name, stage=Stage.MEASURE))
    verdict = check(call, expectation, x, outcome)
    if verdict.reason:
        raise Refusal(Status.WRONG_RESULT, verdict.reason)
    del outcome
    clock.lap("check_s")
    profile = profile_call(call, x)
    clock.lap("profile_s")
    cell.record = replace(
        cell.record,
        peak_bytes=profile.peak_bytes,
        max_error=verdict.max_error,
        kernel=profile.kernel,
    )
    if asked.measure.launch is Launch.EAGER:
        return x, call
    replay = _captured(call, x, expectation)
    clock.lap("prepare_s")
    return x, replay


def _captured(call: Call, x: Tensor, expectation: Expectation) -> Callable[[Tensor], object]:
    """The call as a CUDA graph that gives what the call gives.

    Raises:
        Refusal: No graph can hold it, or what that gives is wrong.
    """
    try:
        replay = captured(call, x)
    except NotCapturable as error:
        raise Refusal(
            Status.UNSUPPORTED, f"no CUDA graph can hold it (measure.launch: graph): {error}", spoils=True
        ) from None
    if reason := check_replay(call, replay, expectation, x):
        raise Refusal(Status.WRONG_RESULT, f"right when called, but as a CUDA graph {reason}")
    return replay


def _sample(
    cells: list[Cell], asked: MeasureCase, own: TorchState, device: torch.device, send: Callable[[Message], None]
) -> None:
    """Sample the cells in turn until each has spent its budget."""
    with no_garbage_collection():
        for cell in cells[:1]:
            _at_work(cell, lambda sampler: sampler.settle(), own, device, send)
        for order in turns(len(cells)):
            hungry = [
                cell
                for cell in (cells[index] for index in order)
                if cell.sampler is not None and cell.sampler.wants_more(asked.measure.max_time_s)
            ]
            if not hungry:
                return
            for cell in hungry:
                _at_work(cell, lambda sampler: sampler.take_turn(asked.measure.max_time_s), own, device, send)


def _at_work(
    cell: Cell,
    work: Callable[[Sampler], None],
    own: TorchState,
    device: torch.device,
    send: Callable[[Message], None],
) -> None:
    """Let one cell's sampler do something, with the parent knowing whose turn it is.

    Raises:
        Spoiled: As ``_give_up`` says.
    """
    assert cell.sampler is not None
    send(Entered(backend=cell.record.backend, stage=Stage.SAMPLE, expected_s=cell.sampler.expected_s))
    try:
        with _at_home(cell, own):
            work(cell.sampler)
    except Exception as error:
        cell.clock.restart()  # what it waited for others is not its own
        _give_up(cell, error, device, send)


def _finish(cell: Cell, conditions: Conditions) -> None:
    """Check once more what was timed, and fill in the record.

    Raises:
        Refusal: It is no longer right.
    """
    assert cell.sampler is not None
    assert cell.call is not None
    assert cell.expectation is not None
    assert cell.x is not None
    timing = cell.sampler.timing
    cell.clock.spent["warm_up_s"], cell.clock.spent["timed_s"] = timing.warm_up_s, timing.timed_s
    cell.clock.restart()
    if reason := recheck(cell.call, cell.expectation, cell.x):
        raise Refusal(Status.WRONG_RESULT, reason)
    replay = None if cell.timed is cell.call else cell.timed
    if replay is not None and (reason := check_replay(cell.call, replay, cell.expectation, cell.x)):
        raise Refusal(Status.WRONG_RESULT, f"right when called, but after it was timed as a CUDA graph {reason}")
    cell.clock.lap("check_s")
    cell.record = replace(
        cell.record,
        status=Status.OK,
        reason="",
        samples_ms=timing.samples_ms,
        calls_per_sample=timing.calls_per_sample,
        host_ms=timing.host_ms,
        conditions=conditions,
        spent=Spent(**cell.clock.spent),
    )


def _free(device: torch.device) -> None:
    if device.type == "cuda" and torch.cuda.is_initialized():
        with contextlib.suppress(RuntimeError):  # a broken context: the parent replaces this worker
            torch.cuda.empty_cache()


@lru_cache(maxsize=2)
def _expectation(problem: Problem, device: str, seed: int, shelf: str) -> Expectation:
    # The backends of one case follow one another and share it; swin's pattern is the second.
    # A GPU computes it again sooner than a disk gives it back.
    kept = Path(shelf) if device == "cpu" and shelf else None
    return Expectation(problem, device=torch.device(device), seed=seed, shelf=kept)


@lru_cache
def _ceilings(device: str, dtype: Dtype, cache_bytes: int) -> Ceilings | None:
    # Once for every dtype in every worker: a block has ceilings of its own.
    try:
        return measure_ceilings(torch.device(device), dtype, cache_bytes=cache_bytes)
    except RuntimeError:  # no room for them beside a large case: no backend is to blame for that
        return None


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
