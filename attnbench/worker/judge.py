"""The judge: trusted code alone. It makes inputs, knows what they must give, and measures what the device can do.

One for a run and a device. No backend is ever imported here.
"""

from __future__ import annotations

import os
import random
import select
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from attnbench.core.channel import Channel, ClosedError, memory_file
from attnbench.core.problem import Problem
from attnbench.core.protocol import (
    CountEnergy,
    Describe,
    Described,
    EnergyCounted,
    Expect,
    Expected,
    Failed,
    MeasureCopy,
    MeasureProduct,
    Message,
    RateMeasured,
    Refused,
    Tensors,
    Unwatch,
    Variation,
    Verdict,
    Verify,
    Watch,
    Watched,
    Watching,
)
from attnbench.core.record import Status
from attnbench.worker.ceilings import copy_rate, memory_copy_bytes, product_rate
from attnbench.worker.environment import answer_describe, gpu_uuid, make_current
from attnbench.worker.failure import describe_error, is_out_of_memory
from attnbench.worker.monitor import Monitor
from attnbench.worker.nvml import ManagedGpu, managed_gpu
from attnbench.worker.reference import Expectation
from attnbench.worker.tensors import NoRoomError, copy_tensors, write_tensors
from attnbench.worker.variation import OneImage, restored, rolls

_FIRST = "first "
"""How the names begin of what the first call gave, when it is looked at once more."""
_MOST_KEPT_BYTES = 2**31
"""Inputs and references that are kept from round to round."""
_SLACK_BYTES = 2**20
_GLANCE_S = 0.25
_LEAST_ENERGY_S, _LONGEST_ENERGY_S = 0.5, 3.0


def serve(channel: Channel) -> None:
    """Answer the parent until it closes its end, and watch the machine meanwhile where it asked for that."""
    judge = _Judge()
    while True:
        try:
            while (found := channel.take()) is None:
                if not judge.watching or select.select([channel], [], [], _GLANCE_S)[0]:
                    channel.fetch()
                else:
                    judge.glance()
        except ClosedError:
            return
        message, number, descriptors = found
        reply, told = judge.answer(message, descriptors)
        channel.send(reply, number=number, descriptors=told)


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """What is known of one problem."""

    expectation: Expectation
    inputs: int
    """The file they lie in."""
    layout: Tensors
    moved: dict[Variation, OneImage] = field(default_factory=dict)
    """The same after the map has moved."""

    @property
    def size(self) -> int:
        """Bytes."""
        return self.expectation.size + sum(one.size for one in self.moved.values())


class _Judge:
    def __init__(self) -> None:
        self._device = torch.device("cpu")
        self._gpu: ManagedGpu | None = None
        self._kept: OrderedDict[Problem, _Kept] = OrderedDict()
        self._monitor: Monitor | None = None

    @property
    def watching(self) -> bool:
        return self._monitor is not None

    def glance(self) -> None:
        if self._monitor is not None:
            self._monitor.glance()

    def answer(self, message: Message, descriptors: list[int]) -> tuple[Message, tuple[int, ...]]:
        """The reply, and the descriptors that go with it."""
        try:
            match message:
                case Describe():
                    return self._describe(message), ()
                case Expect():
                    return self._expect(message.problem)
                case Verify():
                    with _closing(descriptors):
                        return self._verify(message, descriptors[0]), ()
                case MeasureCopy() | MeasureProduct():
                    return self._rate(message), ()
                case Watch():
                    self._monitor = Monitor(threads=message.threads, gpu=self._gpu, participants=message.participants)
                    return Watching(), ()
                case Unwatch():
                    assert self._monitor is not None, "nothing is watched"
                    conditions, self._monitor = self._monitor.conditions(), None
                    return Watched(conditions=conditions), ()
                case CountEnergy():
                    return self._energy(), ()
        except Exception as error:  # the parent decides what happens to the case
            status = Status.OOM if is_out_of_memory(error) else Status.ERROR
            self._forget()
            return Failed(status=status, reason=describe_error(error)), ()
        raise ValueError(f"the judge has no answer to {type(message).__name__}")

    def _describe(self, asked: Describe) -> Described | Refused:
        found = answer_describe(asked)
        if isinstance(found, Described):
            self._device = torch.device(found.environment.device)
            make_current(self._device)
            if self._device.type == "cuda":
                torch.zeros(1, device=self._device)  # so that, of the processes that have it open, one is ours
            self._gpu = managed_gpu(gpu_uuid(self._device))
            if self._gpu is not None and self._gpu.is_exclusive():
                said = f"{self._device} lets one process use it at a time, and every backend has its own"
                return Refused(message=f"{said}: sudo nvidia-smi -c DEFAULT", key=("device",))
        return found

    def _expect(self, problem: Problem) -> tuple[Expected | Failed, tuple[int, ...]]:
        kept = self._kept.get(problem)
        if kept is None:
            # The same seed in every round: a reference is computed once.
            expectation = Expectation.seeded(problem, device=self._device, seed=0)
            inputs = memory_file()
            try:
                given = expectation.inputs
                named = {"x": given.x, **given.parameters, "output_gradient": given.output_gradient}
                layout = write_tensors(inputs, named, seal=True)
            except NoRoomError as error:
                os.close(inputs)
                return Failed(status=Status.OOM, reason=f"the inputs cannot be handed on: {error}"), ()
            kept = _Kept(expectation=expectation, inputs=inputs, layout=layout)
            self._make_room(kept)
        self._kept[problem] = kept
        self._kept.move_to_end(problem)
        expected = Expected(inputs=kept.layout, rolls=rolls(problem), free_bytes=_free_bytes(self._device))
        return expected, (kept.inputs,)

    def _make_room(self, coming: _Kept) -> None:
        """Forget the problems that were asked for longest ago. Two stay: swin computes one of its own."""
        size = sum(kept.size for kept in self._kept.values()) + coming.size
        while len(self._kept) > 1 and size > _MOST_KEPT_BYTES:
            _, oldest = self._kept.popitem(last=False)
            os.close(oldest.inputs)
            size -= oldest.size
        if self._device.type == "cuda":
            torch.cuda.empty_cache()  # participants need the memory

    def _forget(self) -> None:
        while self._kept:
            os.close(self._kept.popitem()[1].inputs)
        if self._device.type == "cuda" and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _verify(self, asked: Verify, outputs: int) -> Verdict:
        if asked.problem not in self._kept:
            answer, _ = self._expect(asked.problem)
            if isinstance(answer, Failed):
                raise MemoryError(answer.reason)
        kept = self._kept[asked.problem]
        expectation = kept.expectation
        try:
            given = copy_tensors(outputs, asked.tensors, most_bytes=4 * expectation.size + _SLACK_BYTES)
            found = {name: value.to(self._device) for name, value in given.items()}
        except ValueError as error:
            return Verdict(max_error=float("inf"), reason=str(error))
        first = {name.removeprefix(_FIRST): value for name, value in found.items() if name.startswith(_FIRST)}
        now = {name: value for name, value in found.items() if not name.startswith(_FIRST)}
        if first and (verdict := expectation.verdict(first)).reason:
            reason = "the first output changed when the function was called again"
            return Verdict(max_error=verdict.max_error, reason=reason)
        if reason := expectation.misshapen(now):  # what is restored must have the right shape
            return Verdict(max_error=float("inf"), reason=reason)
        if asked.variation.move:
            if asked.variation not in kept.moved:
                image = random.SystemRandom().randrange(asked.problem.batch)
                kept.moved[asked.variation] = OneImage(expectation, asked.variation, image=image)
            return kept.moved[asked.variation].verdict(now, timed=asked.timed)
        return expectation.verdict(restored(asked.problem, now, asked.variation), timed=asked.timed)

    def _rate(self, asked: MeasureCopy | MeasureProduct) -> RateMeasured:
        try:
            if isinstance(asked, MeasureProduct):
                found = product_rate(self._device, asked.dtype)
            else:
                moved = asked.moved_bytes or memory_copy_bytes(self._device.type, asked.cache_bytes)
                found = copy_rate(self._device, moved)
        except RuntimeError:  # no room for them beside a large case: no backend is to blame for that
            found = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return RateMeasured(rate=found)

    def _energy(self) -> EnergyCounted:
        """From one step of the counter to another, at least half a second later: it moves ten times a second."""
        if self._gpu is None:
            return EnergyCounted(joules=None)
        steps: list[tuple[float, float]] = []
        began = time.monotonic()
        last = self._gpu.joules()
        while time.monotonic() - began < _LONGEST_ENERGY_S:
            now = self._gpu.joules()
            if now is not None and last is not None and now != last:
                steps.append((time.monotonic(), now))
                if steps[-1][0] - steps[0][0] >= _LEAST_ENERGY_S:
                    (began_s, before), (ended_s, after) = steps[0], steps[-1]
                    return EnergyCounted(joules=after - before, began_s=began_s, ended_s=ended_s)
            last = now
            time.sleep(1e-3)
        return EnergyCounted(joules=None)


@contextmanager
def _closing(descriptors: list[int]) -> Iterator[None]:
    try:
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), 0)
