"""The starter: a process that imports torch, touches no device, and forks participants for a few rounds.

``import torch`` takes a second and a half, a fork some hundredths of a second. The starter has run no operator and
opened no device, so forking it is safe. Forks share its address layout, so that a run has more than one starter.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import os
import select
import signal
import socket
import sys
import traceback
from pathlib import Path

import torch  # noqa: F401 - what a starter is for: its forks have it

from attnbench.core.channel import Channel, ClosedError
from attnbench.core.protocol import Begin, Continued, End, Ended, Fork, Forked, Started, Stopped
from attnbench.worker import judge, participant
from attnbench.worker.boot import command
from attnbench.worker.reaper import adopt_orphans, end_children, end_first, end_with_parent

_KILLED = os.WNOHANG | os.WUNTRACED | os.WCONTINUED


def main(role: str, descriptor: int, path: str) -> None:
    """Be one of the processes that import torch.

    Args:
        role: ``starter``, ``judge``, or ``participant`` where forking is not safe.
        descriptor: Its end of a socket to the parent.
        path: A directory that comes first on a participant's Python path; empty for none.
    """
    faulthandler.enable()
    channel = Channel(socket.socket(fileno=descriptor))
    if role == "judge":
        judge.serve(channel)
    elif role == "participant":
        _find_modules(path)
        participant.serve(channel)
    else:
        _Starter(channel).serve()


def _find_modules(path: str) -> None:
    """Let a user's own modules be found."""
    if path:  # and not in the working directory: it may hold another revision of the same modules
        sys.path.insert(0, path)
    else:  # after everything installed
        sys.path.append(str(Path.cwd()))


class _Starter:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._participants: dict[int, int] = {}
        """By process."""
        self._forks = False

    def serve(self) -> None:
        """Start and end participants until the parent closes its end."""
        adopt_orphans()
        woken, wakes = socket.socketpair()
        wakes.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        self._closed_in_forks = (woken, wakes)
        try:
            while True:
                if woken.fileno() in select.select([self._channel.fileno(), woken.fileno()], [], [])[0]:
                    woken.recv(4096)
                    self._tell()
                    continue
                self._channel.fetch()
                while (found := self._channel.take()) is not None:
                    message, _, descriptors = found
                    if isinstance(message, Begin):
                        self._begin(message.modules)
                    elif isinstance(message, Fork):
                        self._start(message, *descriptors)
                    elif isinstance(message, End):
                        self._end(message.number)
        except ClosedError:
            end_children()
            os._exit(0)

    def _begin(self, modules: tuple[str, ...]) -> None:
        for name in modules:
            with contextlib.suppress(ImportError):  # another version of torch
                importlib.import_module(name)
        # What the imports left is never garbage, and pages that nobody writes to are shared with every fork.
        gc.collect()
        gc.freeze()
        # Another thread may hold a lock that its copy in a fork would wait for forever.
        self._forks = hasattr(os, "fork") and _threads() == 1
        self._channel.send(Started(forks=self._forks))

    def _start(self, asked: Fork, end: int, output: int) -> None:
        pid = os.fork()
        if pid == 0:
            self._become_participant(asked.path, end, output)
        os.close(end)
        os.close(output)
        self._participants[pid] = asked.number
        self._channel.send(Forked(number=asked.number, pid=pid))

    def _end(self, number: int) -> None:
        for pid, known in self._participants.items():
            if known == number:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _tell(self) -> None:
        """Say what has become of participants."""
        while True:
            try:
                pid, status = os.waitpid(-1, _KILLED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self._participants.get(pid)
            if number is None:
                continue  # something that a participant left behind
            if os.WIFSTOPPED(status):
                self._channel.send(Stopped(number=number))
            elif os.WIFCONTINUED(status):
                self._channel.send(Continued(number=number))
            else:
                del self._participants[pid]
                end_children(but=self._participants)
                self._channel.send(Ended(number=number, code=os.waitstatus_to_exitcode(status)))

    def _become_participant(self, path: str, end: int, output: int) -> None:
        """Never returns."""
        code = 1
        try:
            starter = os.getppid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            adopt_orphans()
            end_with_parent()
            if os.getppid() != starter:
                os._exit(0)
            end_first()
            self._channel.close()
            for known in self._closed_in_forks:
                known.close()
            for standard in (1, 2):
                os.dup2(output, standard)
            os.close(output)
            if self._forks:
                _find_modules(path)
                participant.serve(Channel(socket.socket(fileno=end)))
            else:
                os.set_inheritable(end, True)
                os.execv(sys.executable, command(sys.executable, "participant", end, path))
            code = 0
        except SystemExit as leaving:  # as the interpreter would
            code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
            if code and not isinstance(leaving.code, int):
                print(leaving.code, file=sys.stderr)  # noqa: T201
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code & 0xFF)


def _threads() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return 2  # unknown: as if it had several
