"""What becomes of a run whose starter a participant has harmed: another starter does its work."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from attnbench.core.channel import GarbledError
from attnbench.core.errors import WorkerError
from attnbench.core.record import Allocator
from attnbench.run import starter_process
from attnbench.run.interpreter import this_interpreter
from attnbench.run.starter_process import Starter


@pytest.fixture
def starter() -> Iterator[Starter]:
    found = Starter(interpreter=this_interpreter(), threads=1, allocator=Allocator.STEADY)
    found.wait_until_ready()
    yield found
    found.close()


def test_one_that_was_stopped_is_given_up_soon_and_stays_given_up(
    starter: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter_process, "_ANSWER_TIMEOUT_S", 0.5)
    first = starter.fork(None)
    os.kill(psutil.Process(first.pid).ppid(), signal.SIGSTOP)
    for _ in range(2):
        with pytest.raises(WorkerError, match=r"the starter did not answer within 0.5 s"):
            starter.fork(None)
    with contextlib.suppress(WorkerError):
        first.close()


def test_what_is_no_message_on_its_line_ends_it(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    def take() -> None:
        raise GarbledError("not JSON")

    monkeypatch.setattr(starter.channel, "take", take)
    with pytest.raises(WorkerError):
        starter.fork(None)
