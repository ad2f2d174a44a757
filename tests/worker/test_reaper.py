"""Whatever a command started ends with it, in real processes: seen by their numbers, never by how long it took."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attnbench.worker import reaper

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nobody adopts orphans here")

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open({notes!r} + ".new", "w") as notes:
            notes.write(str(os.getpid()))
        os.rename({notes!r} + ".new", {notes!r})
        os.execve("/bin/sleep", ["sleep", "3600"], {{}})
    os._exit(0)
while not os.path.exists({notes!r}):
    time.sleep(0.01)
"""
"""Starts something twice forked, in a session of its own, without an environment; then goes on."""
PARENT = """
import subprocess, sys
subprocess.Popen(sys.argv[1:], start_new_session=True).wait()
"""


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Path]:
    """Where a daemon notes its number; whoever is noted there, or beside it, is ended if the reaper has not."""
    yield tmp_path / "daemon"
    for file in tmp_path.iterdir():
        for pid in map(int, file.read_text().split()):
            if runs(pid):
                os.kill(pid, signal.SIGKILL)


def reaped(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", reaper.__file__, sys.executable, "-I", "-S", "-c", code]


def runs(pid: int) -> bool:
    """Whether there is such a process, and it is not dead already."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def wait_until(so: Callable[[], bool]) -> None:
    """However long it takes: what never happens fails by the test's own deadline."""
    while not so():
        time.sleep(0.01)


def test_what_a_command_left_behind_ends_with_it(notes: Path) -> None:
    done = subprocess.run(reaped(DAEMON.format(notes=str(notes))), check=False)
    assert done.returncode == 0
    assert not runs(int(notes.read_text()))


def test_what_a_command_left_behind_ends_when_it_crashes(notes: Path) -> None:
    code = DAEMON.format(notes=str(notes)) + "os.abort()"
    done = subprocess.run(reaped(code), check=False)
    assert done.returncode == -signal.SIGABRT
    assert not runs(int(notes.read_text()))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_all_of_it_ends_when_the_parent_is_killed(notes: Path, tmp_path: Path, how: signal.Signals) -> None:
    child = tmp_path / "child"
    note = f"open({str(child)!r}, 'w').write(f'{{os.getpid()}} {{os.getppid()}}')\n"
    code = f"import os\n{note}{DAEMON.format(notes=str(notes))}\ntime.sleep(3600)"
    parent = subprocess.Popen([sys.executable, "-I", "-S", "-c", PARENT, *reaped(code)])
    wait_until(notes.exists)
    family = [int(pid) for pid in (child.read_text() + " " + notes.read_text()).split()]
    assert all(map(runs, family))
    parent.send_signal(how)
    parent.wait()
    wait_until(lambda: not any(map(runs, family)))


def test_all_of_it_ends_when_the_reaper_is_asked_to(notes: Path) -> None:
    process = subprocess.Popen(reaped(DAEMON.format(notes=str(notes)) + "time.sleep(3600)"))
    wait_until(notes.exists)
    daemon = int(notes.read_text())
    process.terminate()
    assert process.wait() == 0
    assert not runs(daemon)


def test_a_command_ends_when_its_reaper_is_killed(notes: Path) -> None:
    code = f"import os, time; open({str(notes)!r}, 'w').write(str(os.getpid())); time.sleep(3600)"
    process = subprocess.Popen(reaped(code))
    wait_until(lambda: notes.exists() and bool(notes.read_text()))
    process.kill()
    process.wait()
    wait_until(lambda: not runs(int(notes.read_text())))


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_the_exit_code_is_the_commands(code: int) -> None:
    assert subprocess.run(reaped(f"raise SystemExit({code})"), check=False).returncode == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_signal_that_killed_a_command_kills_its_reaper(number: signal.Signals) -> None:
    kill = f"import os, signal; signal.signal({number}, signal.SIG_DFL); os.kill(os.getpid(), {number})"
    code = kill if number is not signal.SIGKILL else f"import os; os.kill(os.getpid(), {number})"
    assert subprocess.run(reaped(code), check=False).returncode == -number


def test_a_command_hears_of_signals_as_if_nobody_stood_before_it() -> None:
    code = "import signal; print(signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT).__name__)"
    said = subprocess.run(reaped(code), check=True, capture_output=True, text=True).stdout
    assert said.split() == [str(signal.SIG_DFL.value), "default_int_handler"]


def test_what_a_command_prints_and_reads_is_its_own() -> None:
    code = "import sys; print(sys.stdin.read().upper()); print('said', file=sys.stderr)"
    done = subprocess.run(reaped(code), check=True, capture_output=True, text=True, input="heard")
    assert (done.stdout, done.stderr) == ("HEARD\n", "said\n")


def test_a_command_that_cannot_be_executed_is_no_success(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", reaper.__file__, str(tmp_path / "nothing")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr


def test_descriptors_that_were_handed_on_close_with_the_command_and_not_with_its_reaper() -> None:
    read, write = os.pipe()
    code = f"import os, time; os.write({write}, b'x'); os.close({write}); time.sleep(3600)"
    process = subprocess.Popen(reaped(code), pass_fds=(write,))
    os.close(write)
    try:
        assert os.read(read, 10) == b"x"
        assert os.read(read, 10) == b"", "nobody else holds it"
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait()
        os.close(read)


def test_children_that_shall_stay_do() -> None:
    code = f"""
import subprocess, sys
sys.path.insert(0, {str(Path(reaper.__file__).parent)!r})
from reaper import adopt_orphans, end_children
adopt_orphans()
first, second = (subprocess.Popen(["/bin/sleep", "3600"]) for _ in range(2))
end_children(but=[second.pid])
print(first.poll() is not None, second.poll() is None)
end_children()
print(second.poll() is not None)
"""
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.split() == ["True", "True", "True"]
