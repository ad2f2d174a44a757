"""The recipes of docs/recipes.md, run as they are printed, with stand-ins for services and for what is measured."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import junitparser
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from tests.conftest import PYTHONPATH
from tests.test_readme import fenced
from tests.warm import Warm

SUITE = """\
name: mine
device: cpu
backends: [naive, sdpa]
baseline: naive
cases: [{name: one, resolution: 14, window: 7, heads: 2}]
measure: {max_time_s: 0.1}
"""
Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    place = tmp_path / "work"
    place.mkdir()
    (place / "suite.yaml").write_text(SUITE)
    return place


@pytest.fixture
def shell(tmp_path: Path, workspace: Path, warm: Warm) -> Shell:
    """Runs a script in the workspace: ``attnbench`` measures stand-ins, ``gh`` and ``bencher`` note their arguments."""
    programs = tmp_path / "bin"
    programs.mkdir()
    scripts = {"attnbench": f'exec {warm.shell_command(stand_ins=True)} "$@"'}
    scripts |= dict.fromkeys(("gh", "bencher", "hostname"), f'echo "$0 $@" >> {tmp_path}/called')
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (programs / name).chmod(0o755)

    def run(script: str, *, check: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": PYTHONPATH,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
            **variables,
        }
        done = subprocess.run(
            ["bash", "-e", "-c", script], cwd=workspace, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == check, done.stdout + done.stderr
        return done

    return run


def slower(place: Path, factor: float) -> None:
    """What is measured in a directory takes longer."""
    place.mkdir(exist_ok=True)
    (place / "stand_in.json").write_text(json.dumps({"slower": {"sdpa": factor}}))


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (1.5, 1)])
def test_a_pull_request_gets_a_comment_and_the_verdict(
    tmp_path: Path, workspace: Path, shell: Shell, factor: float, code: int
) -> None:
    slower(workspace / "base", 1.0)
    slower(workspace / "candidate", factor)
    shell(fenced("recipe comment"), check=code, PR="12")
    assert ("| regressed |" in (workspace / "comment.md").read_text()) == bool(code)
    assert "pr comment 12 --body-file comment.md" in (tmp_path / "called").read_text()


def test_the_action_finds_both_files(workspace: Path, shell: Shell) -> None:
    first, *uses = YAML(typ="safe", pure=True).load(fenced("recipe action"))
    shell(first["run"])
    for step in uses:
        entries = json.loads((workspace / step["with"]["output-file-path"]).read_text())
        assert {"name", "unit", "value"} <= set(entries[0])
    tools = {step["with"]["name"]: step["with"]["tool"] for step in uses}
    assert tools == {"latency": "customSmallerIsBetter", "throughput": "customBiggerIsBetter"}


def test_bencher_gets_its_file(tmp_path: Path, workspace: Path, shell: Shell) -> None:
    shell(fenced("recipe bencher"), PROJECT="mine")
    assert "--adapter json --file bencher.json" in (tmp_path / "called").read_text()
    assert json.loads((workspace / "bencher.json").read_text())


@pytest.mark.slow
def test_git_finds_the_commit_that_made_it_slower_and_passes_over_what_cannot_be_judged(
    workspace: Path, shell: Shell
) -> None:
    (workspace / "bisect.sh").write_text(fenced("recipe bisect script"))
    shell("git init -q -b main && git add suite.yaml bisect.sh && git commit -qm start && git tag v1.0")
    for number in range(6):
        slower(workspace, 1.0 if number < 4 else 1.4)
        if number == 2:  # a commit that nothing can be measured in
            (workspace / "stand_in.json").write_text("broken")
        (workspace / "number").write_text(str(number))
        shell(f"git add -A && git commit -qm 'change {number}'")
    shell(fenced("recipe bisect"))
    log = shell("git bisect log").stdout
    assert re.search(r"first bad commit: \[\w+\] change 4", log), log


def test_a_commit_that_cannot_be_judged_is_skipped(workspace: Path, shell: Shell) -> None:
    (workspace / "bisect.sh").write_text(fenced("recipe bisect script"))
    (workspace.parent / "suite.yaml").write_text("broken")
    shell("mkdir ../good; bash bisect.sh", check=125)


def test_a_badge_is_json_for_shields(workspace: Path, shell: Shell) -> None:
    (workspace / "badge.py").write_text(fenced("recipe badge"))
    shell(f"attnbench run suite.yaml && {sys.executable} badge.py")
    badge = json.loads((workspace / "badge.json").read_text())
    assert badge["schemaVersion"] == 1
    assert re.fullmatch(r"\d+\.\d\dx", badge["message"])


def test_every_branch_has_a_baseline_of_its_own(workspace: Path, shell: Shell) -> None:
    shell("git init -q -b feature/fast && git commit -q --allow-empty -m start")
    shell(fenced("recipe branch"))
    assert list((workspace / "baselines" / "feature-fast").glob("*/*/table.csv"))


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (1.5, 1)])
def test_gitlab_gets_its_reports(workspace: Path, shell: Shell, factor: float, code: int) -> None:
    (job,) = YAML(typ="safe", pure=True).load(fenced("recipe gitlab")).values()
    slower(workspace, 1.0)
    shell("git init -q -b main && git add -A && git commit -qm start && git update-ref refs/remotes/origin/main main")
    slower(workspace, factor)
    shell("set -e\n" + "\n".join(job["script"]), check=code, CI_MERGE_REQUEST_TARGET_BRANCH_NAME="main")
    reports = job["artifacts"]["reports"]
    assert junitparser.JUnitXml.fromfile(str(workspace / reports["junit"])).failures == code
    metrics = (workspace / reports["metrics"]).read_text()
    assert list(text_string_to_metric_families(metrics))  # type: ignore[no-untyped-call]


def test_jenkins_gets_its_report(workspace: Path, shell: Shell) -> None:
    slower(workspace, 1.0)
    shell("git init -q -b main && git add -A && git commit -qm start && git update-ref refs/remotes/origin/main main")
    recipe = fenced("recipe jenkins")
    assert recipe.count("{") == recipe.count("}")
    for step in re.findall(r"sh '(.+)'", recipe):
        shell(step)
    (report,) = re.findall(r"junit '(.+)'", recipe)
    assert junitparser.JUnitXml.fromfile(str(workspace / report)).tests > 0
