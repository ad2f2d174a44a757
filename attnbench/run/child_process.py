"""Another process as its parent meets it: asked, held to deadlines, and its death explained."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TypeVar

from attnbench.core.channel import Channel, ClosedError, GarbledError
from attnbench.core.protocol import Message

Read = TypeVar("Read")
POLL_S = 0.1
"""How often who waits for a process looks whether to give up."""
_GAP_S = 1.0
"""So much later than it should, this process wakes only if it was stopped itself."""
_TAIL_BYTES = 4096
_FRAME = re.compile(r'File "(?:.*/)?([^"/]+)", line (\d+) in ')
"""The innermost call in a fault handler's dump: the first one."""
_PROFILER = "USDT:"
"""How lines begin that torch's profiler writes by itself."""


class WorkerDied(Exception):
    """A process ended, or said what no process of ours says.

    Args:
        how: How it ended.
        killed: Whether something outside killed it.
        out_of_memory: Whether that was the system, because memory ran out.
    """

    def __init__(self, how: str, *, killed: bool = False, out_of_memory: bool = False) -> None:
        super().__init__(how)
        self.killed = killed
        self.out_of_memory = out_of_memory


class DeadlinePassed(Exception):
    """No answer came in time."""


class Abandoned(Exception):
    """The user asked to stop at once."""


class ChildProcess(ABC):
    """Something that answers messages, one at a time.

    Args:
        channel: Our end.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._number = 0
        self.stopped_s = 0.0
        """How long it, or this process, was stopped while the last question was open."""

    def ask(
        self,
        message: Message,
        *,
        timeout_s: float,
        abandon: Callable[[], bool] = lambda: False,
        descriptors: Sequence[int] = (),
    ) -> tuple[Message, list[int]]:
        """Send a message and wait for the reply: ``tell`` and ``hear``."""
        self.tell(message, descriptors=descriptors)
        return self.hear(timeout_s=timeout_s, abandon=abandon)

    def tell(self, message: Message, *, descriptors: Sequence[int] = ()) -> None:
        """Send a message.

        Args:
            message: The question.
            descriptors: What goes with it.

        Raises:
            WorkerDied: It ended.
        """
        self._number += 1
        self._forget_stops()
        try:
            self.channel.send(message, number=self._number, descriptors=descriptors)
        except ClosedError:
            raise self.death() from None

    def hear(self, *, timeout_s: float, abandon: Callable[[], bool] = lambda: False) -> tuple[Message, list[int]]:
        """Wait for the reply.

        Args:
            timeout_s: How long; time in which either side was stopped does not count, as far as it is no longer.
            abandon: Asked a few times a second whether to stop waiting.

        Returns:
            The reply, and the descriptors that came with it.

        Raises:
            WorkerDied: It ended, or what it sent is no reply.
            DeadlinePassed: Nothing came in time.
            Abandoned: ``abandon`` said so.
        """
        began = last = time.monotonic()
        while True:
            found = self._read(self.channel.take)
            if found is not None:
                return self._checked(*found)
            if abandon():
                raise Abandoned
            left = timeout_s + min(self.stopped_s, timeout_s) - (last - began)
            wait_s = max(0.0, min(POLL_S, left))
            heard = self._wait(wait_s)
            now = time.monotonic()
            self._count_stop(now - last, wait_s)
            if not heard and left <= 0:  # what came while this process was stopped came in time
                raise DeadlinePassed
            last = now

    def _checked(self, reply: Message, number: int, descriptors: list[int]) -> tuple[Message, list[int]]:
        if number != self._number:
            raise WorkerDied(
                f"it wrote an answer on the line to attnbench ({type(reply).__name__}) that nobody asked for"
            )
        return reply, descriptors

    def _forget_stops(self) -> None:
        self.stopped_s = 0.0

    def _count_stop(self, took_s: float, wait_s: float) -> None:
        if took_s > wait_s + _GAP_S:
            self.stopped_s += took_s

    def _read(self, how: Callable[[], Read]) -> Read:
        """Read what has come.

        Raises:
            WorkerDied: Nothing will, or it is no message.
        """
        try:
            return how()
        except ClosedError:
            raise self.death() from None
        except GarbledError as error:
            raise WorkerDied(f"it wrote on the line to attnbench what is no message ({error})") from None

    @abstractmethod
    def _wait(self, wait_s: float) -> bool:
        """Wait for a part of an answer; whether something came."""

    @abstractmethod
    def death(self) -> WorkerDied:
        """How it ended."""


class Output:
    """What a process prints: a file of its own, of which the end is told where it dies."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        self._memory_kills = _memory_kills()

    def death(self, who: str, code: int | None) -> WorkerDied:
        """How a process with this exit code ended."""
        killed = code == -signal.SIGKILL
        out_of_memory = killed and _memory_kills() > self._memory_kills
        if code is None:
            how = f"{who} closed its line to attnbench"
        elif out_of_memory:
            how = f"the system killed {who}, because memory ran out"
        elif code < 0:
            how = f"{who} was killed by {_signal_name(-code)}"
        else:
            how = f"{who} exited with code {code}"
        said = self._last_words()
        return WorkerDied(f"{how}: {said}" if said else how, killed=killed, out_of_memory=out_of_memory)

    def _last_words(self) -> str:
        """The last line; a fault handler's dump is told by its first."""
        size = self.file.seek(0, os.SEEK_END)
        self.file.seek(max(0, size - _TAIL_BYTES))
        lines = self.file.read().decode(errors="replace").splitlines()
        fatal = [line for line in lines if line.startswith("Fatal Python error")]
        spoken = [line.strip() for line in lines if line.strip() and not line.startswith(_PROFILER)]
        frame = next((found for line in lines if fatal and (found := _FRAME.search(line))), None)
        return (fatal or spoken or [""])[-1] + (f" ({frame[1]}:{frame[2]})" if frame else "")

    def close(self) -> None:
        """Forget it."""
        self.file.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _memory_kills() -> int:
    """How often the system has killed a process because memory ran out, control groups' limits included."""
    try:
        counters = dict(line.split() for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines())
    except OSError:
        return 0
    return int(counters.get("oom_kill", 0))
