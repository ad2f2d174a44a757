"""Ctrl-C: once finishes the case at work, twice stops at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_NOTICE = b"stopping after the case at work; once more stops at once\n"


class Interruption:
    """While entered, counts requests to stop instead of letting them raise.

    SIGINT asks once more each time; SIGTERM, and SIGHUP unless nohup ignores it, mean at once. Outside the main thread,
    where Python does not allow handlers, it does nothing.
    """

    def __init__(self) -> None:
        self._requests = 0
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether to stop after the case at work."""
        return self._requests > 0

    @property
    def at_once(self) -> bool:
        """Whether to give up the case at work, too."""
        return self._requests > 1

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._requests += 1 if number == signal.SIGINT else 2
        if self._requests == 1:
            with contextlib.suppress(OSError):  # now, whatever this process is waiting for
                os.write(2, _NOTICE)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                    continue
                self._previous[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
