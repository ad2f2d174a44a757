"""Any terminal: dumb, narrow, of eight bits, without colors. Nothing is cut off, and nothing lost without a word."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import termios
from pathlib import Path

import pytest

from attnbench.report import terminal
from attnbench.report.layout import Column, Grid, Sheet
from attnbench.report.run_table import run_table
from attnbench.results.store import read_run
from tests.conftest import TESTS, Cli
from tests.warm import Warm

RED = TESTS.parent / "results" / "reference" / "amd-epyc-2-cores" / "ab-refactored"


def on_a_terminal(warm: Warm, *arguments: str, columns: int, **environment: str) -> str:
    """What a command shows on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, columns))
    known = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "TERM")}
    process = subprocess.Popen(
        [*warm.command(), *arguments],
        stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, env={**known, **environment},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 2**16)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    process.wait()
    os.close(ours)
    return shown.decode("utf-8", "replace").replace("\r\n", "\n")


def test_a_dumb_terminal_is_as_wide_as_it_is_and_gets_no_control_sequence(warm: Warm) -> None:
    wide = on_a_terminal(warm, "compare", str(RED), columns=200, TERM="dumb")
    assert "\x1b" not in wide
    assert max(map(len, wide.splitlines())) > 120
    assert "base ms" in wide
    assert "Not shown" not in wide
    assert wide == on_a_terminal(warm, "compare", str(RED), columns=200, TERM="xterm", NO_COLOR="1")


def test_a_terminal_with_colors_gets_the_same_words(warm: Warm) -> None:
    colored = on_a_terminal(warm, "compare", str(RED), columns=100, TERM="xterm-256color")
    assert "\x1b[1m" in colored
    plain = on_a_terminal(warm, "compare", str(RED), columns=100, TERM="dumb")
    without = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert [line.rstrip() for line in without.splitlines()] == plain.splitlines()


@pytest.mark.parametrize("columns", [20, 40, 60])
def test_narrow_terminals_show_every_cell_or_name_the_columns_that_they_do_not(stored: Path, columns: int) -> None:
    sheet = run_table(read_run(stored))
    text = terminal.render(sheet, width=max(40, columns))
    squeezed = "".join(text.split())
    dropped = re.search(r"Notshownat\d+columns:(.*?)\(use", squeezed)
    assert dropped
    for grid in sheet.grids:
        for column in grid.columns:
            if "".join(column.header.split()) not in dropped[1].split(","):
                assert [cell for cell in column.cells if "".join(cell.split()) not in squeezed] == [], column.header


def test_a_table_whose_cells_are_wider_than_the_terminal_breaks_them() -> None:
    long = "x" * 130
    columns = (Column(header="name", cells=(long,)), Column(header="2", cells=("9" * 70,)))
    text = terminal.render(Sheet(heading=long, grids=(Grid(title=long, columns=columns),), notes=(long,)), width=40)
    assert text.count("x") == 4 * 130
    assert text.count("9") == 70
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 40


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "koi8-r"])
@pytest.mark.parametrize("command", ["show", "plot", "compare"])
def test_an_encoding_of_eight_bits_shows_frames_and_charts(
    stored: Path, warm: Warm, command: str, encoding: str
) -> None:
    done = subprocess.run(
        [*warm.command(), command, RED if command == "compare" else stored],
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert done.stderr == b""
    assert done.returncode in (0, 1)
    text = done.stdout.decode(encoding)
    assert "\\u" not in text
    assert len(text.splitlines()) > 5


def test_names_that_an_encoding_lacks_are_spelled(cli_process: Cli, tmp_path: Path) -> None:
    suite = "name: x\nbackends: naive\ncases: [{name: 漢字, resolution: 14, window: 7, heads: 1}]\n"
    (tmp_path / "s.yaml").write_text(suite, encoding="utf-8")
    shown = cli_process("run", "s.yaml", "--dry-run", check=0, PYTHONIOENCODING="ascii", PYTHONUTF8="0").stdout
    assert shown.startswith(r"\u6f22\u5b57: ")
