"""Processes of ``attnbench`` that begin where imports end: each is forked from one that has imported everything.

To its caller it is a process like any other, with arguments, directory, environment, streams and exit code of its own.
Imports take most of the time of a short command, and a test of what becomes of its streams is none of imports.
What the start of an interpreter decides (closed streams), and whom a test signals, must be a real process.

``Warm`` is what tests see. ``python -m tests.warm SOCKET`` forks, and ``warm_client.py`` stands for it in a shell.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from select import select
from typing import IO, Any

CLIENT = Path(__file__).with_name("warm_client.py")
STREAMS = 3


class Warm:
    """What forks, started when it is first asked for.

    Args:
        place: A directory for its socket.
        **environment: What its environment has beside that of this process, for whatever is loaded when it starts.
    """

    def __init__(self, place: Path, **environment: str) -> None:
        self._socket = place / "warm"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, *, stand_ins: bool = False) -> list[str]:
        """What stands for ``python -m attnbench``; with stand-ins for whoever would import torch."""
        if self._process is None:
            self._process = self._started()
        mode = "stand_ins" if stand_ins else "real"
        return [sys.executable, "-I", "-S", str(CLIENT), str(self._socket), mode]

    def shell_command(self, *, stand_ins: bool = False) -> str:
        """The same, for a shell."""
        return shlex.join(self.command(stand_ins=stand_ins))

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()  # it ends when nobody holds its stdin

    def _started(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", str(self._socket)],
            cwd=CLIENT.parents[1],
            env={**os.environ, **self._environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.read() == b"ready\n"
        return process


def serve(path: str) -> None:
    """Fork for everyone who asks, until stdin ends. Returns in forks alone, to run their command."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever waits for a command is waited for by nobody
    gc.freeze()  # collecting garbage would copy what forks share
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        os.write(1, b"ready\n")
        os.dup2(2, 1)
        while listener.fileno() in select([listener.fileno(), 0], [], [])[0]:
            caller, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _serve(caller)
                return
            caller.close()
    sys.exit()


def _serve(caller: socket.socket) -> None:
    """Start one command and tell its caller how it ends. Returns in the command alone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    line, streams, *_ = socket.recv_fds(caller, 2**20, STREAMS)
    command = os.fork()
    if command == 0:
        caller.close()
        _become(json.loads(line), streams)
        return
    for descriptor in (0, 1, 2, *streams):
        os.close(descriptor)
    ended = os.pidfd_open(command)
    if ended not in select([ended, caller.fileno()], [], [])[0]:
        os.kill(command, signal.SIGKILL)  # its caller is gone
    code = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
    caller.sendall(f"{code}".encode())
    os._exit(0)


def _become(asked: dict[str, Any], streams: list[int]) -> None:
    """Be a process that was just started as asked."""
    for descriptor, stream in enumerate(streams):
        os.dup2(stream, descriptor)
        os.close(stream)
    os.chdir(asked["directory"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [asked["directory"], *filter(None, paths)]
    sys.argv = ["attnbench", *asked["arguments"]]
    sys.stdin, sys.stdout, sys.stderr = _stream(0, "r"), _stream(1, "w"), _stream(2, "w")
    if asked["mode"] == "stand_ins":
        import pytest

        from tests import stand_in

        stand_in.use(pytest.MonkeyPatch())


def _stream(descriptor: int, mode: str) -> IO[str]:
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    return open(
        descriptor,
        mode,
        encoding=encoding or "utf-8",
        errors="backslashreplace" if descriptor == 2 else errors or "strict",
        buffering=1 if descriptor == 2 or os.isatty(descriptor) else -1,
        closefd=False,
    )


def import_everything() -> None:
    """Import what commands import, among which are neither torch nor whatever has threads, and make all commands."""
    import pytest  # noqa: F401
    import typer.main

    import attnbench.cli
    import attnbench.comparison.ab
    import attnbench.comparison.noise
    import attnbench.comparison.runs
    import attnbench.comparison.selection
    import attnbench.exports.writing
    import attnbench.report.comparison_table
    import attnbench.report.run_table
    import attnbench.report.terminal
    import attnbench.results.frames
    import attnbench.run.runner
    import attnbench.run.session
    from tests import stand_in  # noqa: F401

    typer.main.get_command = functools.cache(typer.main.get_command)
    typer.main.get_command(attnbench.cli.app)


if __name__ == "__main__":
    import_everything()
    serve(sys.argv[1])
    from attnbench.cli import main

    main()
