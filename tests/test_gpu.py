"""What only a GPU can show. Skipped elsewhere; agreement of every backend on a GPU is in test_testing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import attnbench
from attnbench.backends import registry
from attnbench.backends.base import DeviceFacts
from attnbench.results.journal import read_journal
from attnbench.testing import check_problem
from attnbench.worker.call import Call
from attnbench.worker.reference import Expectation
from attnbench.worker.timing import captured
from tests.conftest import Cli
from tests.samples import problem

pytestmark = pytest.mark.gpu


def test_quick_runs_on_the_gpu(cli: Cli, tmp_path: Path) -> None:
    cli("run", "quick", "--set", "device=cuda", "--set", "measure.max_time_s=0.05", "--output", "out", check=0)
    frame = attnbench.load(tmp_path / "out")
    assert set(frame["status"]) <= {"ok", "unavailable", "unsupported"}, frame[["case", "backend", "status", "reason"]]
    measured = frame[frame["status"] == "ok"]
    assert (measured["latency_ms"] > 0).all()
    assert measured["kernel"].str.contains(" ").all(), "an operator, then the longest kernel"


def test_graphs_and_a_hot_cache_are_measured_too(cli: Cli, tmp_path: Path) -> None:
    for option in ("launch=graph", "cache=hot"):
        name = option.replace("=", "-")
        chosen = ("--set", "device=cuda", "--set", "measure.max_time_s=0.05", "--set", f"measure.{option}")
        cli("run", "quick", "--quick", "--backend", "naive", "--backend", "sdpa", *chosen, "--output", name, check=0)
        assert set(attnbench.load(tmp_path / name)["status"]) == {"ok"}


def test_the_machine_is_watched_and_its_energy_counted(cli: Cli, tmp_path: Path) -> None:
    chosen = ("--set", "device=cuda", "--set", "measure.max_time_s=0.5")
    cli("run", "quick", "--quick", "--backend", "sdpa", *chosen, "--output", "out", check=0)
    for one in read_journal(tmp_path / "out"):
        assert one.conditions is not None
        assert one.conditions.glances[0].sm_mhz
    assert (attnbench.load(tmp_path / "out")["joules_per_image"] > 0).all()
    assert "GPU clocks" in cli("doctor", "--device", "cuda", check=0).stdout


@pytest.mark.parametrize("windows", [65_535, 65_536])
@pytest.mark.parametrize("name", registry.names())
def test_more_windows_than_the_grid_takes_are_right_or_declared(name: str, windows: int) -> None:
    backend = registry.load(name)
    if reason := backend.unavailable("cuda"):
        pytest.skip(reason)
    asked = problem(batch=windows, height=2, width=2, window_height=2, window_width=2, heads=1, dtype="float16")
    if reasons := backend().unsupported_on(asked, DeviceFacts.of(torch.device("cuda"))):
        pytest.skip("; ".join(reasons))
    check_problem(backend(), asked, torch.device("cuda"))


@pytest.mark.parametrize("name", registry.names())
def test_a_call_can_be_captured_in_a_graph(name: str) -> None:
    backend = registry.load(name)
    if reason := backend.unavailable("cuda"):
        pytest.skip(reason)
    asked = problem(dtype="float16")
    if reasons := backend().unsupported_on(asked, DeviceFacts.of(torch.device("cuda"))):
        pytest.skip("; ".join(reasons))
    expectation = Expectation.seeded(asked, device=torch.device("cuda"), seed=0)
    call = Call(backend(), asked, expectation.inputs)
    with torch.inference_mode():
        output = captured(call, expectation.inputs.x)(expectation.inputs.x)
        torch.cuda.synchronize()
    torch.testing.assert_close(output, call.outcome(expectation.inputs.x).output)
