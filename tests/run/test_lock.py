"""What belongs to others stays as it is: directories for locks, and signals that nohup ignores."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from attnbench.core.errors import OutputError
from attnbench.run.interruption import Interruption
from attnbench.run.lock import LOCKS, device_lock, holder_of


@pytest.mark.parametrize("linked", [False, True])
def test_a_directory_that_is_there_keeps_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o750)
    where = tmp_path / "link" if linked else mine
    if linked:
        where.symlink_to(mine)
    monkeypatch.setenv(LOCKS, str(where))
    with device_lock("cpu", holder="test"):
        assert (mine / "cpu.lock").exists()
    assert stat.S_IMODE(mine.stat().st_mode) == 0o750


def test_one_that_is_made_is_everyones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOCKS, str(tmp_path / "new" / "locks"))
    with device_lock("cpu", holder="test"):
        assert stat.S_IMODE((tmp_path / "new" / "locks").stat().st_mode) == 0o777


def test_a_file_in_its_place_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(LOCKS, str(tmp_path / "file"))
    with (
        pytest.raises(OutputError, match="cannot be locked: Not a directory; name another directory"),
        device_lock("cpu", holder="test"),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_that_goes_away_ends_a_run_as_a_request_to_end_does(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_DFL)  # these tests may run under nohup themselves
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), number)
            assert interruption.at_once
    finally:
        signal.signal(number, before)


def test_under_nohup_it_goes_on() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interruption.requested
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("said", [b"x \xff (process 1 of x)", b"run s (process 99999999999999999999 of x)"])
def test_what_others_wrote_beside_a_lock_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setenv(LOCKS, str(tmp_path))
    (tmp_path / "cpu.holder").write_bytes(said)
    assert holder_of("cpu") is None
