"""The workflows of docs/ci.md, step by step as GitHub takes them: every command is run, in a repository of kernels."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.comparison.test_ab_live import kernels
from tests.conftest import TESTS, Cli
from tests.test_readme import DOCS, fenced

pytestmark = pytest.mark.slow

SUITE = """\
name: mine
device: cpu
backends: ['kernels:Mine']
cases:
  - {name: one, batch: 1, resolution: 14, window: 7, heads: 2}
  - {name: two, batch: 1, resolution: 28, window: 7, heads: 2, scope: windows}
measure: {max_time_s: 0.1}
"""
SLOWER = "(1.6 if qkv.shape[0] == 16 else 1.0)"
EXPRESSIONS = {"github.base_ref": "main", "github.run_id": "7"}


class Job:
    """One job of a workflow in an empty workspace."""

    def __init__(self, name: str, workspace: Path, repository: dict[str, Path]) -> None:
        self._workflow = YAML(typ="safe", pure=True).load(fenced(f"workflow {name}"))
        (self._job,) = self._workflow["jobs"].values()
        self._repository = repository
        self.workspace = workspace
        self.summary, self.outputs = workspace.parent / "summary.md", workspace.parent / "outputs"
        self.log = ""
        self.artifacts: list[str] = []
        workspace.mkdir()
        self._install_what_is_here()

    def run(self) -> int:
        """Every step; what a failing one leaves to be done is done, as ``if: always()`` says."""
        assert self._job["timeout-minutes"]
        code = 0
        for step in self._job["steps"]:
            condition = step.get("if", "success()")
            wanted = {"success()": code == 0, "always()": True}[condition]
            if not wanted:
                continue
            if "run" in step:
                code = code or self._shell(step["run"])
            else:
                self._use(step["uses"], {key: self._evaluate(str(value)) for key, value in step["with"].items()}
                          if "with" in step else {})  # fmt: skip
        return code

    def _shell(self, command: str) -> int:
        environment = {
            **os.environ,
            "GITHUB_ACTIONS": "true",
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_OUTPUT": str(self.outputs),
            "PIP_CACHE_DIR": str(self.workspace.parent / "pip"),
            "PIP_NO_BUILD_ISOLATION": "0",  # which is how pip spells that setuptools is here already
        }
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            ["bash", "-e", "-c", self._evaluate(command)], cwd=self.workspace, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        self.log += f"$ {command}\n{done.stdout}"
        assert "Traceback" not in done.stdout, self.log
        return done.returncode

    def _use(self, action: str, given: dict[str, str]) -> None:
        match action.partition("@"):
            case ("actions/checkout", _, version):
                assert version
                source = self._source(given)
                place = self.workspace / given.get("path", ".")
                # At the top alone: the package has a results, too.
                top = str(source)
                shutil.copytree(
                    source, place, dirs_exist_ok=True,
                    ignore=lambda directory, _: {".venv", "results"} if str(directory) == top else set(),
                )  # fmt: skip
            case ("actions/upload-artifact", _, version):
                assert version
                self.artifacts += [path for path in given["path"].split() if (self.workspace / path).exists()]
            case ("actions/cache", _, version):
                assert version
                assert given["key"].startswith(given["restore-keys"])
                for path in given["path"].split():
                    shared = self._repository["cache"] / path
                    shared.mkdir(parents=True, exist_ok=True)
                    (self.workspace / path).symlink_to(shared)
            case ("actions/upload-pages-artifact" | "actions/deploy-pages", _, version):
                assert version
                self.artifacts += [path for path in given.get("path", "").split() if (self.workspace / path).exists()]
            case _:
                raise AssertionError(f"an action that no test stands in for: {action}")

    def _source(self, given: dict[str, str]) -> Path:
        if "repository" in given:
            assert given["repository"] == "OWNER/attnbench"
            return self._repository["attnbench"]
        return self._repository["base" if given.get("ref") == "main" else "candidate"]

    def _evaluate(self, text: str) -> str:
        return re.sub(r"\$\{\{ (.+?) \}\}", lambda found: EXPRESSIONS[found[1]], text)

    def _install_what_is_here(self) -> None:
        """An environment in which everything but attnbench is installed, so that installing takes no time."""
        place, made = self.workspace / ".venv", self._repository["environment"]
        shutil.copytree(made, place, symlinks=True)
        for script in place.glob("bin/pip*"):
            script.write_text(script.read_text().replace(str(made), str(place)))
        (packages,) = place.glob("lib/*/site-packages")
        (packages / "here.pth").write_text(sysconfig.get_paths()["purelib"])


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with pip, whose making takes seconds, to be copied."""
    place = tmp_path_factory.mktemp("environment") / ".venv"
    venv.create(place, with_pip=True)
    # An old setuptools of its own would hide that of this environment, with which attnbench is installed.
    subprocess.run([place / "bin" / "pip", "uninstall", "-q", "-y", "setuptools"], check=True)
    return place


@pytest.fixture
def repository(tmp_path: Path, environment: Path) -> dict[str, Path]:
    """A repository of kernels at two revisions, and attnbench's."""
    attnbench = tmp_path / "attnbench"
    attnbench.mkdir()
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(TESTS.parent / name, attnbench)
    for name in ("attnbench", "suites"):
        shutil.copytree(TESTS.parent / name, attnbench / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, slowdown in (("base", "1.0"), ("candidate", "1.0")):
        kernels(tmp_path / name, slowdown)
        (tmp_path / name / "suite.yaml").write_text(SUITE)
    places = {name: tmp_path / name for name in ("attnbench", "base", "candidate", "cache")}
    return {**places, "environment": environment}


@pytest.mark.timeout(600)
def test_a_red_build_on_a_gpu_runner_tells_which_cell_how_much_how_sure_and_what_changed(
    tmp_path: Path, repository: dict[str, Path]
) -> None:
    file = repository["candidate"] / "kernels.py"
    file.write_text(file.read_text().replace("began + 1.0", f"began + {SLOWER}"))
    job = Job("gate", tmp_path / "work", repository)
    assert job.run() == 1, job.log
    assert job.artifacts == ["junit.xml", "verdicts.json", "results"]
    summary = job.summary.read_text()
    headline, table = summary.splitlines()[0], summary.partition("| verdict |")[2]
    assert headline.startswith("**FAIL: 1 regressed of 2 cells")
    row = next(line for line in table.splitlines() if line.startswith("| regressed"))
    assert row.split(" | ")[1:3] == ["two", "kernels:Mine"]
    shown = re.search(r"\| (\d\.\d+) \| (\d\.\d+) to (\d\.\d+) \|", row)
    assert shown, row
    ratio, low, high = map(float, shown.groups())
    assert ratio > 1.2
    assert 1.03 < low <= ratio <= high
    assert "What changed in the environment: path base -> candidate" in summary
    assert "smallest detectable slowdown (median cell): " in summary
    assert re.search(r"Judged by (\d+ to )?\d+ pairs of fresh processes in turn, of at most 40", summary)
    assert "::error title=attnbench%3A regressed%3A two%2C kernels%3AMine::" in job.log
    assert "regressed=1\n" in job.outputs.read_text()


@pytest.mark.timeout(600)
def test_a_green_build_without_a_gpu(tmp_path: Path, repository: dict[str, Path]) -> None:
    job = Job("check", tmp_path / "work", repository)
    assert job.run() == 0, job.log
    assert job.artifacts == ["junit.xml"]
    assert job.summary.read_text().startswith("**PASS")
    assert "failed=false\n" in job.outputs.read_text()


@pytest.mark.timeout(600)
def test_nights_become_a_history_and_a_broken_one_does_not_join_it(tmp_path: Path, repository: dict[str, Path]) -> None:
    def night(number: int) -> tuple[int, Job]:
        (tmp_path / f"night-{number}").mkdir()
        job = Job("nightly", tmp_path / f"night-{number}" / "work", repository)
        return job.run(), job

    def kept() -> int:
        return len(list((tmp_path / "cache" / "baselines" / "nightly").glob("*/*/table.csv")))

    code, first = night(1)
    assert code == 0, first.log
    assert "attnbench: there is no baseline nightly in baselines (there: none)" in first.log
    assert first.artifacts == ["tonight", "bencher.json", "junit.xml"]
    assert kept() == 1
    code, second = night(2)
    assert code == 0, second.log
    assert "with so few runs slowdowns are only suspected" in second.summary.read_text().replace("\n", " ")
    assert kept() == 2
    file = repository["candidate"] / "kernels.py"
    file.write_text(file.read_text().replace("began =", "assert qkv.shape[0] != 16\n            began =", 1))
    code, third = night(3)
    assert code == 1, third.log
    assert third.summary.read_text().count("**FAIL") == 2
    assert "broken" in third.summary.read_text()
    assert kept() == 2


def test_every_command_of_the_section_on_regressions_exists() -> None:
    from attnbench.cli import app, baseline

    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {f"baseline {command.name}" for command in baseline.registered_commands}
    section = DOCS["regressions"] + DOCS["ci"]
    shown = re.findall(r"attnbench (baseline \w+|[a-z]+)[ `]", " ".join(section.split()))
    assert len(shown) > 12
    assert set(shown) <= {*known, "itself"}, set(shown) - known


def test_the_example_commands_of_ab_are_understood(cli: Cli) -> None:
    for line in fenced("ab").splitlines():
        # What they name is not there; that is all that is wrong with them.
        said = cli(*line.split()[1:], check=2).stderr
        assert re.search(r"does not exist|not a directory that exists|does not import", said), said


@pytest.mark.timeout(600)
def test_a_site_gets_a_page_for_every_night(tmp_path: Path, repository: dict[str, Path]) -> None:
    for night in range(2):
        job = Job("site", tmp_path / f"night-{night}", repository)
        assert job.run() == 0, job.log
        assert job.artifacts == ["site"]
    assert len(list((job.workspace / "site" / "runs").glob("*.html"))) == 2, job.log
    assert "2 runs, 1 of them read now" in job.log
