"""What only a GPU can show. Skipped elsewhere; agreement of every backend on a GPU is in test_testing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import attnbench
from attnbench.backends import registry
from attnbench.measure.call import Call
from attnbench.oracle import Expectation
from attnbench.testing import check_problem
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


@pytest.mark.parametrize("windows", [65_535, 65_536])
@pytest.mark.parametrize("name", registry.names())
def test_more_windows_than_the_grid_takes_are_right_or_declared(name: str, windows: int) -> None:
    backend = registry.load(name)
    if reason := backend.unavailable("cuda"):
        pytest.skip(reason)
    asked = problem(batch=windows, height=2, width=2, window_height=2, window_width=2, heads=1, dtype="float16")
    if reasons := backend().unsupported_on(asked, "cuda"):
        pytest.skip("; ".join(reasons))
    check_problem(backend(), asked, torch.device("cuda"))


@pytest.mark.parametrize("name", registry.names())
def test_a_call_can_be_captured_in_a_graph(name: str) -> None:
    backend = registry.load(name)
    if reason := backend.unavailable("cuda"):
        pytest.skip(reason)
    asked = problem(dtype="float16")
    if reasons := backend().unsupported_on(asked, "cuda"):
        pytest.skip("; ".join(reasons))
    expectation = Expectation(asked, device=torch.device("cuda"), seed=0)
    call = Call(backend(), asked, expectation.inputs)
    with torch.inference_mode():
        call(expectation.inputs.x)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = call(expectation.inputs.x)
        graph.replay()
    torch.testing.assert_close(output, call.outcome(expectation.inputs.x).output)
