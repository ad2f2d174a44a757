"""A participant: one backend in a process of its own, at the other end of a socket from the parent.

It is believed in nothing that can be checked from outside.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys

import torch

from attnbench.backends.base import Backend, DeviceFacts, WrongOutputError, effective, refusals
from attnbench.backends.registry import load
from attnbench.core.channel import Channel
from attnbench.core.errors import AttnbenchError
from attnbench.core.protocol import (
    LONGEST_REASON,
    Describe,
    Explain,
    Explained,
    Failed,
    Introduce,
    Introduced,
    Message,
    Outcome,
    Prepare,
    Release,
    Released,
    TakeTurn,
)
from attnbench.core.record import Status
from attnbench.worker.environment import answer_describe, make_current
from attnbench.worker.failure import describe_error, is_out_of_memory
from attnbench.worker.integrity import Integrity
from attnbench.worker.prepared import Prepared, Refusal


def serve(channel: Channel) -> None:
    """Answer the parent until it closes its end."""
    # Python's collector runs between cases, and never in the middle of a sample.
    gc.disable()
    participant = _Participant()
    for message, number, descriptors in channel.messages():
        try:
            reply: Message = participant.answer(message, descriptors)
        except Exception as error:  # whatever a backend raises costs its own cell alone
            reply = _failure(error)
        channel.send(reply, number=number)


def _failure(error: Exception) -> Failed:
    if isinstance(error, Refusal):
        status, reason = error.status, error.reason
    elif isinstance(error, WrongOutputError):
        status, reason = Status.WRONG_RESULT, str(error)
    else:
        status = Status.OOM if is_out_of_memory(error) else Status.ERROR
        reason = describe_error(error)
    return Failed(status=status, reason=reason[:LONGEST_REASON] or status)


class _Participant:
    """What it knows: its backend, and the case at work."""

    def __init__(self) -> None:
        self._backend: Backend | None = None
        self._device = torch.device("cpu")
        self._threads = 1
        self._case: Prepared | None = None
        self._integrity = Integrity()

    def answer(self, message: Message, descriptors: list[int]) -> Message:
        """Do what the parent asks for.

        Raises:
            Exception: Whatever a backend raises.
        """
        match message:
            case Describe():
                return answer_describe(message)
            case Introduce():
                return self._introduce(message)
            case Explain():
                return self._explain(message)
            case Prepare():
                return self._prepare(message, *descriptors)
            case Release():
                return self._release()
        assert self._case is not None, "no case was prepared"
        reply = self._case.answer(message)
        if not isinstance(message, TakeTurn):  # that would take as long as a short sample; it is shown afterwards
            self._check_switches()
        return reply

    def _introduce(self, asked: Introduce) -> Introduced:
        self._device, self._threads = torch.device(asked.device), asked.threads
        torch.set_num_threads(asked.threads)
        try:
            kind = load(asked.backend)
        except AttnbenchError as error:
            # A path was written by whoever runs the suite; a name by a package, which is broken then.
            reason = str(error)[:LONGEST_REASON]
            return Introduced(invalid=reason) if ":" in asked.backend else Introduced(unavailable=reason)
        file = getattr(sys.modules.get(kind.__module__), "__file__", None)
        try:
            said = kind.unavailable(self._device.type)
            if said is None:
                self._backend = kind()
                return Introduced(pattern=self._backend.pattern, file=file)
        except Exception as error:  # a third party's code
            said = f"asking whether it is available raised {describe_error(error)}"
        return Introduced(unavailable=str(said)[:LONGEST_REASON] or "it gave no reason", pattern=kind.pattern)

    def _explain(self, asked: Explain) -> Explained:
        assert self._backend is not None, "no backend was introduced"
        reasons = []
        for problem in asked.problems:
            found = refusals(self._backend, effective(problem, self._backend), DeviceFacts.of(self._device))
            reasons.append("; ".join(map(str, found))[:LONGEST_REASON])
        return Explained(reasons=tuple(reasons))

    def _prepare(self, asked: Prepare, inputs: int, outputs: int) -> Outcome:
        assert self._backend is not None, "no backend was introduced"
        self._release()
        try:
            make_current(self._device)
            if reasons := refusals(self._backend, asked.problem, DeviceFacts.of(self._device)):
                said = "; ".join(filter(None, map(str, reasons)))
                raise Refusal(Status.UNSUPPORTED, said or "it gave no reason")
            self._case = Prepared(self._backend, asked, self._device, inputs, outputs)
        except BaseException:
            os.close(outputs)
            raise
        finally:
            os.close(inputs)  # the pages stay
        outcome = self._case.first(is_checked=asked.is_checked)
        self._check_switches()
        return outcome

    def _release(self) -> Released:
        """Give back all memory, so that another participant can have it."""
        if self._case is None:
            return Released()
        self._case.close()
        self._case = None
        gc.collect()
        if self._device.type == "cuda" and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        elif sys.platform == "linux":
            with contextlib.suppress(AttributeError, OSError):  # not every C library has it
                ctypes.CDLL(None).malloc_trim(0)
        return Released()

    def _check_switches(self) -> None:
        """Of all it may set, what decides how it is measured is not its own."""
        if broken := self._integrity.broken():
            raise Refusal(Status.WRONG_RESULT, f"it replaced {broken}, by which it is measured")
        if torch.get_num_threads() != self._threads:
            raise Refusal(
                Status.ERROR,
                f"it set torch's CPU threads to {torch.get_num_threads()} (allowed: {self._threads}, measure.threads)",
            )
