"""Participants in environments of their own, beside the one that runs attnbench."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import venv
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pandas as pd
import pytest

import attnbench
from attnbench.comparison.pairs import read_pairs
from attnbench.results.journal import read_journal
from tests.conftest import Cli

pytestmark = pytest.mark.slow

SUITE = """\
name: s
device: cpu
backends: [sdpa, {name: sdpa, python: ./other, label: other}]
cases: [{resolution: 14, window: 7, heads: 1}]
measure: {processes: 1, max_time_s: 0.02}
"""


def environment_with_torch_alone(directory: Path) -> Path:
    """A virtual environment that holds torch and what torch requires: links, so that it takes no time."""
    venv.create(directory, with_pip=False, symlinks=True)
    (packages,) = directory.glob("lib/*/site-packages")
    waiting, done = ["torch"], set()
    while waiting:
        name = waiting.pop()
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        if name in done:
            continue
        done.add(name)
        waiting += [re.split(r"[^A-Za-z0-9_.-]", text)[0] for text in found.requires or [] if "extra ==" not in text]
        for top in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            source = Path(str(found.locate_file(top)))
            if not (packages / top).exists():
                (packages / top).symlink_to(source)
    assert "numpy" not in done
    return directory


def environment_with_torch_that_does_not_load(directory: Path) -> Path:
    venv.create(directory, with_pip=False)
    (packages,) = directory.glob("lib/*/site-packages")
    (packages / "torch").mkdir()
    (packages / "torch" / "__init__.py").write_text("raise ImportError('libcudart.so.99: cannot open shared object')")
    return directory


def statuses(frame: pd.DataFrame) -> dict[str, str]:
    return dict(zip(frame["backend"], frame["status"], strict=True))


def test_a_backend_runs_beside_itself_in_an_environment_with_nothing_but_torch(cli: Cli, tmp_path: Path) -> None:
    environment_with_torch_alone(tmp_path / "other")
    (tmp_path / "s.yaml").write_text(SUITE.replace("processes: 1", "processes: 2"))
    done = cli(
        "run", "s.yaml", "--output", "out", "--export", "json=run.json", "--export", "csv=run.csv", check=0
    )  # fmt: skip
    assert statuses(attnbench.load(tmp_path / "out")) == {"sdpa": "ok", "other": "ok"}
    shown = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    assert {"sdpa", "other"} <= set(shown)
    environment = json.loads((tmp_path / "out" / "environment.json").read_text())
    version = ".".join(map(str, sys.version_info[:3]))
    assert environment["participants"] == {"other": f"sdpa torch {environment['torch']} python {version}"}
    assert environment["fingerprint"]["labels"] == "other=sdpa"
    assert "pandas" in environment["packages"], "those of the environment that runs attnbench"
    document = json.loads((tmp_path / "run.json").read_text())
    assert [cell["backend"] for cell in document["cells"]] == ["sdpa", "other"]
    assert document["environment"]["participants"] == environment["participants"]
    frame = pd.read_csv(tmp_path / "run.csv")
    assert statuses(frame) == {"sdpa": "ok", "other": "ok"}


def test_environments_that_cannot_serve_cost_the_cells_of_their_own_participants(cli: Cli, tmp_path: Path) -> None:
    environment_with_torch_that_does_not_load(tmp_path / "broken")
    venv.create(tmp_path / "bare", with_pip=False)
    entries = "".join(f", {{name: sdpa, python: ./{name}, label: {name}}}" for name in ("nowhere", "bare", "broken"))
    (tmp_path / "s.yaml").write_text(SUITE.replace(", {name: sdpa, python: ./other, label: other}", entries))
    done = cli("run", "s.yaml", "--output", "out", check=0)
    frame = attnbench.load(tmp_path / "out").set_index("backend")
    assert frame["status"].to_dict() == {
        "sdpa": "ok", "nowhere": "unavailable", "bare": "unavailable", "broken": "unavailable",
    }  # fmt: skip
    reasons = frame["reason"]
    assert reasons["nowhere"] == "python nowhere: does not exist; give a virtual environment or a Python interpreter"
    python = (tmp_path / "bare" / "bin" / "python").absolute()
    said = "torch is not installed there, and is all that is needed"
    assert reasons["bare"] == f"python bare: {said}: {python} -m pip install torch"
    assert reasons["broken"].startswith("python ./broken: ")
    assert reasons["broken"].endswith("ImportError: libcudart.so.99: cannot open shared object")
    assert not any("\n" in reason for reason in reasons)
    assert "Traceback" not in done.stdout + done.stderr
    environment = json.loads((tmp_path / "out" / "environment.json").read_text())
    assert environment["participants"] == dict.fromkeys(("nowhere", "bare", "broken"), "sdpa missing")


def test_one_side_of_ab_may_have_nothing_but_torch(cli: Cli, tmp_path: Path) -> None:
    other = environment_with_torch_alone(tmp_path / "other")
    names = ("attnbench", "pandas", "pydantic", "pynvml")
    has = f"import importlib.util; print([name for name in {names} if importlib.util.find_spec(name)])"
    asked = subprocess.run(
        [other / "bin/python", "-I", "-c", has], capture_output=True, text=True, check=True, cwd=other
    )
    assert asked.stdout == "[]\n"
    (tmp_path / "s.yaml").write_text(SUITE.replace(", {name: sdpa, python: ./other, label: other}", ""))
    done = cli("ab", "s.yaml", "--base", "other", "--output", "out", "--fail-above", "1000", "--all", check=0)
    pairs = read_pairs(tmp_path / "out")
    assert set(pairs.base.table["status"]) == {"ok"}
    assert set(pairs.candidate.table["status"]) == {"ok"}
    assert "pandas" not in pairs.base.environment["packages"]
    assert "pandas" in pairs.candidate.environment["packages"]
    assert "What changed in the environment: " in done.stdout
    assert "absent -> " in done.stdout


# --- what is said of labels, with stand-ins


@pytest.fixture
def run_here(cli_here: Cli, tmp_path: Path) -> Callable[..., str]:
    """Runs the suite in this process, in which both environments are this one; what it says."""
    (tmp_path / "s.yaml").write_text(SUITE.replace("./other", sys.executable))

    def run(*options: str, check: int = 0) -> str:
        done = cli_here("run", "s.yaml", *options, check=check)
        return done.stdout + done.stderr

    return run


def test_the_command_line_names_label_backend_and_environment(run_here: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(Path(sys.executable).parents[1])
    run_here("--backend", "fast=naive", "--backend", "mine=sdpa@./here", "--output", "out")
    assert statuses(attnbench.load(tmp_path / "out")) == {"fast": "ok", "mine": "ok"}
    environment = json.loads((tmp_path / "out" / "environment.json").read_text())
    assert environment["participants"] == {"mine": "sdpa torch 2.13.0 python 3.11.7"}


def test_speed_ups_refer_to_the_label_that_the_baseline_names(run_here: Callable[..., str]) -> None:
    assert "vs sdpa" in run_here("--output", "first")
    assert "vs other" in run_here("--set", "baseline=other", "--output", "second")


def test_a_run_is_gone_on_with_only_in_the_same_environments(run_here: Callable[..., str], tmp_path: Path) -> None:
    run_here("--output", "out")
    file = tmp_path / "out" / "environment.json"
    stored = json.loads(file.read_text())
    stored["participants"]["other"] = "sdpa torch 2.12.0 python 3.11.7"
    file.write_text(json.dumps(stored))
    said = run_here("--resume", "out", check=4)
    was, now = (f"other sdpa torch {version} python 3.11.7" for version in ("2.12.0", "2.13.0"))
    assert f"--resume out: participants was {was} and is {now}; one run is measured in one environment" in said
    elsewhere = f"other=sdpa@{tmp_path / 'python'}"
    said = run_here("--resume", "out", "--backend", "sdpa", "--backend", elsewhere, check=2)
    assert "give the suite as it was" in said


def test_two_participants_of_one_environment_are_introduced_each_by_its_backend(
    run_here: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "stand_in.json").write_text(json.dumps({"slower": {"sdpa": 3.0}}))
    python = sys.executable
    run_here("--backend", f"one=sdpa@{python}", "--backend", f"two=naive@{python}", "--output", "out")
    latencies = {one.backend: one.samples_ms[0] for one in read_journal(tmp_path / "out")}
    assert latencies == {"one": 3.0, "two": 2.0}


def test_a_participant_whose_environment_is_gone_is_broken_and_the_others_are_still_compared(
    run_here: Callable[..., str], cli_here: Cli, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.symlink_to(Path(sys.executable).parents[1])
    backends = ("--backend", "sdpa", "--backend", "other=sdpa@./here")
    run_here(*backends, "--output", "before")
    here.unlink()
    run_here(*backends, "--output", "after")
    assert statuses(attnbench.load(tmp_path / "after")) == {"sdpa": "ok", "other": "unavailable"}
    done = cli_here("compare", "before", "after", check=1)
    assert "1 broken" in done.stdout


def test_a_run_is_gone_on_with_by_the_suite_that_is_stored_beside_it(
    run_here: Callable[..., str], cli_here: Cli, tmp_path: Path
) -> None:
    (tmp_path / "here").symlink_to(Path(sys.executable).parents[1])
    (tmp_path / "s.yaml").write_text(SUITE.replace("./other", "./here"))
    run_here("--output", "out")
    cli_here("run", "out/suite.yaml", "--resume", "out", check=0)
