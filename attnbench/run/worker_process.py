"""A process of this interpreter or another that imports torch: the judge, or a starter."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
from typing import final

from attnbench.core.channel import Channel
from attnbench.core.record import Allocator
from attnbench.run.child_process import ChildProcess, Output, WorkerDied
from attnbench.run.interpreter import Interpreter
from attnbench.worker import reaper
from attnbench.worker.boot import command

START_TIMEOUT_S = 300.0
"""Importing torch, and then a backend's package; a cold disk is slow."""
SEND_TIMEOUT_S = 30.0
_STEADY = {
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(2**26),
}
"""glibc gives freed memory back to the system and takes it again page by page, or does not, depending on where the heap
of a process happens to end: the same kernel then has two speeds. With these it keeps what it has (mallopt(3))."""


@final
class Worker(ChildProcess):
    """A process with torch in a session of its own, so that Ctrl-C reaches the parent alone.

    Between it and the parent stands a reaper, which ends it and all it started when either is gone.

    Args:
        role: ``starter`` or ``judge``.
        interpreter: The Python it runs in.
        threads: CPU threads; set before torch loads.
        allocator: How the C library keeps freed memory; set before the interpreter starts.
    """

    def __init__(self, role: str, *, interpreter: Interpreter, threads: int, allocator: Allocator) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(SEND_TIMEOUT_S)
        super().__init__(Channel(ours))
        self._role = role
        self._output = Output()
        environment = {
            **interpreter.environment(), "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
            # numpy's library starts a thread of its own otherwise, and a process with one thread can be forked.
            "OPENBLAS_NUM_THREADS": "1",
            **(_STEADY if allocator is Allocator.STEADY else {}),
        }  # fmt: skip
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                [
                    interpreter.executable, "-I", "-S", reaper.__file__,
                    *command(str(interpreter.executable), role, theirs.fileno()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=self._output.file,
                stderr=self._output.file,
                pass_fds=(theirs.fileno(),),
                env=environment,
                start_new_session=True,
            )  # fmt: skip

    def close(self) -> None:
        """End it and everything it started; safe to call twice."""
        self.channel.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        self._process.wait()
        self._output.close()

    def _wait(self, wait_s: float) -> bool:
        if select.select([self.channel], [], [], wait_s)[0]:
            self._read(self.channel.fetch)
            return True
        if self._process.poll() is not None:
            raise self.death()
        return False

    def death(self) -> WorkerDied:
        """How it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        return self._output.death(f"the {self._role}", self._process.returncode)
