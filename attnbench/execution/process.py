"""A worker process as its parent sees it: started, spoken to, killed with everything it started."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from attnbench.execution.guardian import MARK, Guardian, end_marked
from attnbench.execution.interpreter import Interpreter, this_interpreter
from attnbench.execution.messages import Message, decode, encode

# The worker's attnbench is the parent's, installed or not, whatever else is on the path or in the working directory;
# nothing else is looked for where it lies. So is the library that manages GPUs, where its environment has none.
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); import attnbench; sys.path.pop(0); "
    "from attnbench.execution.worker import main; main(int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])"
)
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_POLL_S = 0.1
_TAIL_BYTES = 4096
_FRAME = re.compile(r'File "(?:.*/)?([^"/]+)", line (\d+) in ')
"""The innermost call in a fault handler's dump: the first one."""
_PROFILER = "USDT:"
"""How lines begin that torch's profiler writes by itself."""


class WorkerDied(Exception):
    """The worker's end of the pipe closed.

    Args:
        how: How it ended.
        killed: Whether something outside killed it.
        out_of_memory: Whether that was the system, because memory ran out.
    """

    def __init__(self, how: str, *, killed: bool, out_of_memory: bool) -> None:
        super().__init__(how)
        self.killed = killed
        self.out_of_memory = out_of_memory


class DeadlinePassed(Exception):
    """No message came in time."""


class Abandoned(Exception):
    """The user asked to stop at once."""


class WorkerProcess:
    """One worker in a process group of its own, so that Ctrl-C reaches the parent alone.

    Args:
        threads: CPU threads; set before torch loads.
        interpreter: The Python it runs in, by default this one.
    """

    def __init__(self, *, threads: int, interpreter: Interpreter | None = None) -> None:
        interpreter = interpreter or this_interpreter()
        theirs_in, self._to_worker = os.pipe()
        self._from_worker, theirs_out = os.pipe()
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        self._mark = secrets.token_hex(8)
        environment = {
            **interpreter.environment(), "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
            MARK: self._mark,
        }  # fmt: skip
        self._guardian = Guardian(self._mark)
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [
                    interpreter.executable, "-P", "-u", "-c", _BOOT, _PACKAGE_ROOT, str(theirs_in), str(theirs_out),
                    interpreter.path.resolve() if interpreter.path else "", _gpu_library(),
                ],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                pass_fds=(theirs_in, theirs_out),
                env=environment,
                start_new_session=True,
            )  # fmt: skip
        except OSError:
            self._guardian.dismiss()
            for descriptor in (self._to_worker, self._from_worker):
                os.close(descriptor)
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        self._buffer = b""
        self._spoken_before = 0
        self._memory_kills = _memory_kills()

    def send(self, message: Message) -> None:
        """Ask the worker something.

        Raises:
            WorkerDied: It is gone.
        """
        data = encode(message)
        self.listen(self._output.seek(0, os.SEEK_END))
        try:
            while data:
                data = data[os.write(self._to_worker, data) :]
        except BrokenPipeError:
            raise self._death() from None

    def listen(self, spoken_bytes: int) -> None:
        """What the worker prints after so many bytes belongs to whoever is at work now."""
        self._spoken_before = spoken_bytes

    def receive(self, *, timeout_s: float, abandon: Callable[[], bool] = lambda: False) -> Message:
        """Wait for the next message.

        Args:
            timeout_s: How long.
            abandon: Asked a few times a second whether to stop waiting.

        Raises:
            WorkerDied: The worker ended.
            DeadlinePassed: Nothing came in time.
            Abandoned: ``abandon`` said so.
        """
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            if abandon():
                raise Abandoned
            remaining = deadline - time.monotonic()
            readable, _, _ = select.select([self._from_worker], [], [], max(0.0, min(_POLL_S, remaining)))
            if not readable and remaining <= 0:  # this process may have been stopped: what came meanwhile came in time
                raise DeadlinePassed
            if readable:
                chunk = os.read(self._from_worker, 2**20)
                if not chunk:
                    raise self._death()
                self._buffer += chunk
            elif self._process.poll() is not None:
                # Dead, with its end of the pipe held open by something it started.
                raise self._death()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return decode(line)

    def close(self) -> None:
        """Kill the worker and everything it started; safe to call twice."""
        if self._output.closed:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        end_marked(self._mark)
        self._process.wait()
        self._guardian.dismiss()
        for descriptor in (self._to_worker, self._from_worker):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._to_worker = self._from_worker = -1
        self._output.close()

    def _death(self) -> WorkerDied:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        code = self._process.returncode
        killed = code == -signal.SIGKILL
        out_of_memory = killed and _memory_kills() > self._memory_kills
        if code is None:
            how = "the worker closed its pipe"
        elif out_of_memory:
            how = "the system killed the worker, because memory ran out"
        elif code < 0:
            how = f"the worker was killed by {signal.Signals(-code).name}"
        else:
            how = f"the worker exited with code {code}"
        said = self._last_words()
        return WorkerDied(f"{how}: {said}" if said else how, killed=killed, out_of_memory=out_of_memory)

    def _last_words(self) -> str:
        """The last line said since the last request; a fault handler's dump is told by its first."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(self._spoken_before, size - _TAIL_BYTES))
        lines = self._output.read().decode(errors="replace").splitlines()
        fatal = [line for line in lines if line.startswith("Fatal Python error")]
        spoken = [line.strip() for line in lines if line.strip() and not line.startswith(_PROFILER)]
        frame = next((found for line in lines if fatal and (found := _FRAME.search(line))), None)
        return (fatal or spoken or [""])[-1] + (f" ({frame[1]}:{frame[2]})" if frame else "")


def _gpu_library() -> str:
    """Where this environment's library that manages GPUs lies; empty where it has none."""
    found = find_spec("pynvml")
    return (found.origin or "") if found else ""


def _memory_kills() -> int:
    """How often the system has killed a process because memory ran out, control groups' limits included."""
    try:
        counters = dict(line.split() for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines())
    except OSError:
        return 0
    return int(counters.get("oom_kill", 0))
