"""The script for the first minutes on a GPU, rehearsed without one."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "first_minutes.sh"
STUB = """#!{python}
import json, sys, pathlib, time
words = sys.argv[1:]
if words[0] == "-c":
    sys.argv = ["-c", *words[2:]]
    exec(words[1])
    raise SystemExit
with open("{log}", "a") as log:
    log.write(" ".join(words) + "\\n")
if "verify" in words:
    time.sleep({hangs})
if "--output" in words and "run" in words:
    out = pathlib.Path(words[words.index("--output") + 1])
    out.mkdir(parents=True)
    for name in ("table.csv", "table.parquet", "suite.yaml", "journal.jsonl"):
        (out / name).write_text(name)
    (out / "environment.json").write_text(json.dumps({{"machine": "nvidia-h100"}}))
print("the last line")
raise SystemExit(1 if "ab" in words else 0)
"""


def rehearse(
    tmp_path: Path, *arguments: str, hangs: float = 0.0, **environment: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    stub, log = tmp_path / "python", tmp_path / "log"
    stub.write_text(STUB.format(python=sys.executable, log=log, hangs=hangs))
    stub.chmod(stub.stat().st_mode | stat.S_IEXEC)
    done = subprocess.run(
        [str(SCRIPT), str(tmp_path / "out"), *arguments],
        env={**os.environ, "PYTHON": str(stub), **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done, log.read_text().splitlines() if log.exists() else []


def test_every_step_is_taken_and_what_was_measured_is_filed_by_machine(tmp_path: Path) -> None:
    done, commands = rehearse(tmp_path)
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == [
        "doctor", "verify", "gpu-tests", "backends", "agreement", "window_sweep", "quick", "quick-hot", "quick-graph",
        "twins_svt_s", "ab", "noise",
    ]  # fmt: skip
    assert len(commands) == 12
    assert all("device=cuda" in line or "--device cuda" in line for line in commands if "-m attnbench" in line)
    kept = tmp_path / "out" / "reference" / "nvidia-h100"
    assert sorted(path.name for path in kept.iterdir()) == [
        "quick", "quick-graph", "quick-hot", "twins_svt_s", "window_sweep",
    ]  # fmt: skip
    assert not (kept / "quick" / "journal.jsonl").exists(), "raw samples are large"


def test_a_step_that_fails_or_hangs_costs_no_other(tmp_path: Path) -> None:
    done, commands = rehearse(tmp_path, "4", hangs=60.0, ONLY="doctor verify ab", LEAST="1")
    assert done.returncode == 0
    steps = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()[1:]}
    assert steps["doctor"] == "0"
    assert steps["verify"] == "124", "it ran past its limit"
    assert steps["ab"] == "-", "for which no time was left"
    assert len(commands) == 2


@pytest.mark.slow
def test_the_real_commands_are_understood_on_a_cpu(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(SCRIPT), str(tmp_path / "out"), "400"],
        env={
            **os.environ, "PYTHON": sys.executable, "DEVICE": "cpu", "ONLY": "doctor quick",
            "QUICK": "--quick --backend sdpa --set measure.max_time_s=0.02",
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    steps = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()[1:]}
    assert steps == {"doctor": "0", "quick": "0"}, (tmp_path / "out" / "quick.log").read_text()
    assert list((tmp_path / "out" / "reference").rglob("table.csv"))
