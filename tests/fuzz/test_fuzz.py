"""A few mutations of each kind; the scripts beside this try as many as are asked for (docs/robustness.md)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TESTS
from tests.fuzz import forked as forking
from tests.fuzz.forked import MOST_BYTES, command, forked


@pytest.mark.parametrize(("script", "count"), [("suites", 150), ("runs", 25)])
def test_no_mutation_leads_to_a_traceback_a_hang_a_wrong_code_or_a_wrong_number(script: str, count: int) -> None:
    # A process of its own: one with threads, as that of the tests may be, must not be forked.
    done = subprocess.run(
        [sys.executable, "-m", f"tests.fuzz.{script}", "--count", str(count), "--seed", "0"],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["0 findings"], done.stdout + done.stderr


def test_a_hang_a_traceback_and_too_much_memory_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "LONGEST_S", 1)

    def hang() -> None:
        while True:
            pass

    def take_memory() -> None:
        assert b"x" * (MOST_BYTES + 2**20)

    assert forked(hang).complaint == "took more than 1 s"
    assert forked(lambda: print(1 / int("0"))).complaint == "ZeroDivisionError: division by zero"
    assert "MiB" in forked(take_memory).complaint
    assert forked(command("show", str(tmp_path))).code == 2
