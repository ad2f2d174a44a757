"""Ends everything that a worker started, also when the parent is killed and cannot.

What a backend starts may leave the worker's process group and outlive the worker, but it keeps the environment it was
started with: a variable there marks it. Run as a script, this module waits until its parent is gone.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

MARK = "ATTNBENCH_WORKER"
"""The environment variable of a worker and of everything it starts."""
_MOST_PASSES = 10


def end_marked(mark: str) -> None:
    """Kill every process that carries the mark, and those that these start meanwhile."""
    import psutil  # a guardian that never has to act never loads it

    for _ in range(_MOST_PASSES):
        found = False
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                    process.kill()
                    found = True
        if not found:
            return


class Guardian:
    """Watches over one worker on behalf of this process.

    Args:
        mark: The worker's.
    """

    def __init__(self, mark: str) -> None:
        # It reads a pipe whose other end closes with this process, however that ends.
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", str(Path(__file__).resolve()), mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """Let it go without doing anything."""
        self._process.kill()
        self._process.communicate()


def _main() -> None:
    os.read(0, 1)
    end_marked(sys.argv[1])


if __name__ == "__main__":
    _main()
