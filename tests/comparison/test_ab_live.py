"""Two environments in turn, with real processes: one that is slower, one that crashes, one that does not start."""

from __future__ import annotations

import sys
import venv
from pathlib import Path

import pytest
import torch

from attnbench.results.store import read_run
from tests.conftest import Cli
from tests.run.test_environments import environment_with_torch_that_does_not_load

pytestmark = pytest.mark.slow

SUITE = """\
name: small
device: cpu
backends: ['kernels:Mine']
cases:
  - {name: one, batch: 1, resolution: 14, window: 7, heads: 2}
  - {name: two, batch: 1, resolution: 28, window: 7, heads: 2, scope: windows}
measure: {max_time_s: 0.1}
"""
# Waits as long again as the slowdown asks for: as exact as the clock, however fast the machine is.
KERNELS = """\
from time import perf_counter
from torch.nn.functional import scaled_dot_product_attention
from attnbench.backends.base import Backend


class Mine(Backend):
    def prepare(self, problem, *, device, bias):
        def attend(qkv):
            began = perf_counter()
            query, key, value = qkv.permute(2, 0, 3, 1, 4)
            output = scaled_dot_product_attention(query, key, value).transpose(1, 2)
            due = began + SLOWDOWN * (perf_counter() - began)
            while perf_counter() < due:
                pass
            return output

        return attend
"""


def kernels(directory: Path, slowdown: str) -> str:
    directory.mkdir()
    (directory / "kernels.py").write_text(KERNELS.replace("SLOWDOWN", slowdown))
    return str(directory)


def test_an_environment_whose_torch_cannot_load_is_named(cli: Cli, tmp_path: Path) -> None:
    environment_with_torch_that_does_not_load(tmp_path / "broken")
    (tmp_path / "s.yaml").write_text(SUITE.replace("'kernels:Mine'", "naive"))
    done = cli("ab", "s.yaml", "--base", sys.executable, "--candidate", "broken", check=3)
    assert done.stderr.startswith("attnbench: in the candidate environment (broken), the starter exited with code 1: ")
    assert "ImportError: libcudart.so.99: cannot open shared object" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("results/*/*"))


@pytest.mark.live
def test_two_that_are_the_same_end_with_0(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE)
    kernels(tmp_path / "old", "1.0")
    kernels(tmp_path / "new", "1.0")
    done = cli("ab", "s.yaml", "--base-path", "old", "--candidate-path", "new", "--output", "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_run(tmp_path / "out" / "base").table["processes"].min() >= 5


@pytest.mark.parametrize("fault", ["import os; os.kill(os.getpid(), 11)", "raise SyntaxError('half a file')"])
def test_a_backend_that_crashes_or_no_longer_imports_ends_with_1_as_broken(
    cli: Cli, tmp_path: Path, fault: str
) -> None:
    (tmp_path / "s.yaml").write_text(SUITE)
    kernels(tmp_path / "old", "1.0")
    where = tmp_path / "new"
    kernels(where, "1.0")
    text = (where / "kernels.py").read_text()
    crashing = text.replace("began =", f"{fault}\n            began =", 1)
    (where / "kernels.py").write_text(crashing if "kill" in fault else f"{fault}\n")
    fast = ("--set", "measure.max_time_s=0.02")
    done = cli("ab", "s.yaml", "--base-path", "old", "--candidate-path", "new", *fast, check=1)
    said = " ".join(done.stdout.split())
    assert "2 cells: 2 broken; no latencies were compared." in said
    assert ("SIGSEGV" if "kill" in fault else "SyntaxError") in said


def test_two_paths_that_both_sides_pass_by_are_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE.replace("kernels:Mine", "faults:Right"))
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    done = cli("ab", "s.yaml", "--base-path", "old", "--candidate-path", "new", check=2)
    assert "backend faults:Right is " in done.stderr
    assert (
        "faults.py on both sides; give --base-path and --candidate-path directories that hold its module" in done.stderr
    )
    assert done.stderr.count("\n") == 1


def test_a_module_in_the_working_directory_stands_in_for_no_revision(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE)
    kernels(tmp_path / "here", "1.0")
    (tmp_path / "here" / "kernels.py").rename(tmp_path / "kernels.py")
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    done = cli("ab", "s.yaml", "--base-path", "old", "--candidate-path", "new", check=2)
    assert "kernels does not import: ModuleNotFoundError" in done.stderr


def test_what_pythonpath_holds_is_in_no_other_environment(cli: Cli, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    (tmp_path / "s.yaml").write_text(SUITE.replace("'kernels:Mine'", "naive"))
    packages = str(Path(torch.__file__).parents[1])
    done = cli("ab", "s.yaml", "--base", sys.executable, "--candidate", "bare", check=2, PYTHONPATH=packages)
    assert "--candidate bare: torch is not installed there" in done.stderr
