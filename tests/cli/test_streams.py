"""Standard streams that are closed, full or broken: exports are written all the same, and the code is the verdict's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TESTS
from tests.warm import Warm

WIDTHS = {"COLUMNS": "0", "TERMINAL_WIDTH": "abc"}
RED = TESTS.parent / "results" / "reference" / "amd-epyc-2-cores" / "ab-refactored"
STARTED = f"{sys.executable} -m attnbench"


@pytest.mark.parametrize(
    ("redirections", "environment"),
    [
        (">/dev/full 2>err", {}),
        (">out 2>/dev/full", {}),
        (">out 2>&-", {}),
        (">&- 2>err", {}),
        ("<&- >out 2>err", {}),
        ("<&- >&- 2>&-", {}),
        (">out 2>err", {"PYTHONIOENCODING": "ascii"}),
        ("2>&1 | head -c 1 >out; exit ${PIPESTATUS[0]}", {}),
    ],
)
def test_whatever_becomes_of_the_streams_exports_are_written_and_the_code_is_the_verdicts(
    tmp_path: Path, warm: Warm, redirections: str, environment: dict[str, str]
) -> None:
    # What closed streams are to Python is decided when an interpreter starts.
    command = STARTED if "&-" in redirections else warm.shell_command()
    done = subprocess.run(
        ["/bin/bash", "-c", f"{command} compare {RED} --export junit=junit.xml {redirections}"],
        cwd=tmp_path, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 1
    assert "<failure" in (tmp_path / "junit.xml").read_text()
    said = (tmp_path / "err").read_text() if (tmp_path / "err").exists() else ""
    assert "Traceback" not in said
    full = "attnbench: stdout cannot be written: No space left on device\n"
    assert said == (full if "/dev/full 2>err" in redirections else "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (f"report {RED / 'base'} -o page.html 2>/dev/full", 0),
        ("nosuch 2>/dev/full", 2),
        ("run nosuch 2>/dev/full", 2),
        ("--version >/dev/full 2>err", 3),
        ("--help >/dev/full 2>err", 3),
        ("run --help >/dev/full 2>err", 3),
    ],
)
def test_what_nobody_can_read_costs_neither_the_output_nor_the_code(
    tmp_path: Path, warm: Warm, arguments: str, code: int
) -> None:
    done = subprocess.run(
        ["/bin/bash", "-c", f"{warm.shell_command()} {arguments}"], cwd=tmp_path, check=False, env={**os.environ}
    )
    assert done.returncode == code
    assert (tmp_path / "page.html").exists() == ("page.html" in arguments)
    assert not (tmp_path / "err").exists() or "Traceback" not in (tmp_path / "err").read_text()


def test_a_terminal_without_a_width_is_written_to_all_the_same(tmp_path: Path) -> None:
    for arguments, code in (("nosuch", 2), ("run --help", 0)):
        done = subprocess.run(
            [sys.executable, "-m", "attnbench", *arguments.split()],
            cwd=tmp_path, check=False, env={**os.environ, **WIDTHS}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == code
        assert len(done.stdout + done.stderr) > 50
