"""``attnbench verify`` as its users meet it: the table, the exit code, the exports, bad input."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from attnbench.core.errors import BusyError, WorkerError
from attnbench.core.verification import Answer, Figure
from attnbench.verify import end_to_end, torch_checks, verification
from attnbench.verify.checks import CHECKS, Verification
from attnbench.worker import verification as torch_side
from attnbench.worker.verification import subjects
from tests import stand_in
from tests.conftest import Cli

GOOD = Figure(check="known time", of="a call of 5 ms", value=1.004, least=0.97, most=1.03)
BAD = Figure(check="cold", of="a copy", value=1.01, least=1.1)
ABSENT = Figure(check="published", of="timm", absent="timm is not installed: pip install timm")
SPOILT = Figure(check="memory", broken="RuntimeError: no profiler")


def pretend(monkeypatch: pytest.MonkeyPatch, *figures: Figure, load: float = 0.1) -> None:
    def found(device: str, _: Path, *, quick: bool, shown: Callable[[str], None]) -> Verification:
        shown(f"something{' quick' * quick}")
        return Verification(
            device=device, device_name="A CPU", torch="2.13", figures=figures, elapsed_s=61.0, load=load
        )

    monkeypatch.setattr(verification, "verify", found)


def test_figures_within_their_limits_pass_and_exit_with_0(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, GOOD, ABSENT)
    done = cli("verify", "--device", "cpu", check=0)
    assert "PASS: 1 figures are within their limits, 1 not here" in done.stdout
    assert "0.970 to 1.030" in done.stdout
    assert "timm is not installed: pip install" in done.stdout
    assert "checking: something" in done.stderr


def test_a_figure_outside_its_limits_fails_and_says_what_that_means(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, GOOD, BAD, SPOILT)
    done = cli("verify", check=1)
    assert "FAIL: 2 of 3 figures are outside their limits (cold, memory)" in done.stdout
    told = " ".join(done.stdout.split())
    assert f"cold failed: {CHECKS['cold'].failure}." in told
    assert "Seen: RuntimeError: no profiler." in told


def test_a_failure_on_a_busy_machine_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = "The machine was busy when this began: 4.5 processes a core."
    pretend(monkeypatch, BAD, load=4.5)
    assert busy in cli("verify").stdout
    pretend(monkeypatch, GOOD, load=4.5)
    assert busy not in cli("verify").stdout


@pytest.mark.parametrize("width", ["80", "100", "120", "200"])
def test_the_table_fits_the_terminal(width: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, GOOD, BAD, ABSENT)
    lines = cli("verify", COLUMNS=width).stdout.splitlines()
    assert max(map(len, lines)) <= int(width)
    assert any("1.004" in line for line in lines)


def test_exports_hold_every_figure(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, GOOD, BAD, ABSENT, SPOILT)
    cli("verify", "--export", "json=v.json", "--export", "junit=v.xml", check=1)
    document = json.loads((tmp_path / "v.json").read_text())
    assert (document["kind"], document["passed"]) == ("verification", False)
    assert [one["answer"] for one in document["figures"]] == ["pass", "fail", "not here", "fail"]
    assert [one["most"] for one in document["figures"]] == [1.03, None, None, None]
    suite = ET.parse(tmp_path / "v.xml").getroot()[0]
    assert [suite.get(name) for name in ("tests", "failures", "skipped")] == ["4", "2", "1"]


@pytest.mark.parametrize("given", ["csv=f", "json", "json=", "=f"])
def test_an_export_that_verify_does_not_have_is_refused_before_anything_is_measured(
    given: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, GOOD)
    done = cli("verify", "--export", given, check=2)
    assert "allowed: json=FILE, junit=FILE" in done.stderr
    assert "checking" not in done.stderr


def test_a_step_that_cannot_be_taken_fails_its_checks_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def busy() -> Iterator[Figure]:
        yield GOOD
        raise WorkerError("no process starts")

    stand_in.use(monkeypatch)
    steps = [("a run", ("known time", "faults"), busy), ("the rest", ("cold",), lambda: iter([BAD]))]
    monkeypatch.setattr(verification, "_steps", lambda *_, **__: iter(steps))
    found = verification.verify("cpu", tmp_path, quick=False, shown=lambda _: None)
    assert [(one.check, one.answer) for one in found.figures] == [
        ("known time", Answer.PASS), ("faults", Answer.FAIL), ("cold", Answer.FAIL),
    ]  # fmt: skip
    assert found.figures[1].broken == "no process starts"


def test_a_device_that_another_run_has_is_no_fault_of_the_harness(
    cli_here: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy() -> Iterator[Figure]:
        raise BusyError("another run has the device")

    monkeypatch.setattr(verification, "_steps", lambda *_, **__: iter([("a run", ("known time",), busy)]))
    done = cli_here("verify", "--device", "cpu", check=BusyError.exit_code)
    assert done.stderr.splitlines()[-1].startswith("attnbench: another run has the device")
    assert not done.stdout


def test_every_check_has_its_words_and_every_subject_is_what_the_parent_thinks() -> None:
    assert set(torch_side.CHECKS) <= set(CHECKS)
    assert (end_to_end.KNOWN_MS, end_to_end.SLOWER, end_to_end.LEFT_BEHIND) == (
        subjects.KNOWN_MS, subjects.SLOWER, subjects.LEFT_BEHIND,
    )  # fmt: skip


def test_figures_come_from_a_process_of_their_own() -> None:
    (found,) = torch_checks.checked_inside("cpu", ["reference"])
    assert found.answer is Answer.PASS
    assert math.isfinite(found.most)


def test_a_process_that_dies_or_hangs_fails_what_it_did_not_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch_checks, "verification_command", lambda python, *_: [python, "-c", "import os; os.abort()"]
    )
    assert [one.broken for one in torch_checks.checked_inside("cpu", ["cold", "copy"])] == [
        "the process ended with -6"
    ] * 2
    monkeypatch.setattr(
        torch_checks, "verification_command", lambda python, *_: [python, "-c", "import time; time.sleep(60)"]
    )
    (late,) = torch_checks.checked_inside("cpu", ["cold"], timeout_s=0.2)
    assert late.broken == "it took longer than 0.2 s"
