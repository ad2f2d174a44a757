"""The layer: published outputs from published weights, and what a module is expected to bear."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from attnbench.backends.registry import load
from attnbench.core.errors import BackendError, ProblemError
from attnbench.core.problem import Problem
from attnbench.layer import LocallyGroupedAttention
from attnbench.results.table import table
from attnbench.worker.reference import Inputs, reference
from tests import faults
from tests.analysis.tables import cell
from tests.samples import environment, problem

# Inputs, weights and float64-computed outputs of timm 1.0.31's modules.
TIMM = np.load(Path(__file__).parent / "data" / "timm_windows.npz")
CASES = ("twins_divisible", "twins_padded", "twins_rect_map", "swin_unshifted", "swin_shifted")
PARAMETERS = {
    "qkv.weight": "qkv_weight",
    "qkv.bias": "qkv_bias",
    "proj.weight": "proj_weight",
    "proj.bias": "proj_bias",
    "relative_position_bias_table": "relative_position_bias_table",
}


def published(case: str) -> tuple[Problem, dict[str, Tensor], Tensor, Tensor]:
    """Problem, weights, input and output of one recorded module."""
    weights = {
        name: torch.from_numpy(TIMM[f"{case}/{key}"]) for name, key in PARAMETERS.items() if f"{case}/{key}" in TIMM
    }
    x, out = torch.from_numpy(TIMM[f"{case}/x"]), torch.from_numpy(TIMM[f"{case}/out"])
    heads, window = int(TIMM[f"{case}/heads"]), int(TIMM[f"{case}/window"])
    asked = problem(
        batch=x.shape[0], height=x.shape[1], width=x.shape[2], window_height=window, window_width=window, heads=heads,
        head_dim=x.shape[3] // heads, pattern="shifted" if TIMM[f"{case}/shift"] else "grouped",
        bias="relative" if len(weights) > 4 else "none", scope="layer",
    )  # fmt: skip
    return asked, weights, x, out


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backend", ["naive", "sdpa", "sdpa_math", "sdpa_flash", "sdpa_5d"])
def test_published_weights_give_published_outputs(backend: str, case: str) -> None:
    asked, weights, x, expected = published(case)
    layer = LocallyGroupedAttention(
        asked.channels, heads=asked.heads, window=asked.window_height, pattern=asked.pattern, bias=asked.bias,
        backend=backend,
    )  # fmt: skip
    layer.load_state_dict(weights)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=0)


def test_swins_own_way_gives_swins_published_output() -> None:
    asked, weights, x, expected = published("swin_shifted")
    layer = LocallyGroupedAttention(96, heads=asked.heads, window=7, pattern="shifted", bias="relative", backend="swin")
    layer.load_state_dict(weights)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_the_reference_gives_published_outputs(case: str) -> None:
    asked, weights, x, expected = published(case)
    outcome = reference(asked, Inputs(x=x, parameters=weights, output_gradient=torch.zeros_like(expected)))
    torch.testing.assert_close(outcome.output.float(), expected, atol=1e-5, rtol=0)


def test_state_dict_names_are_those_of_published_weights() -> None:
    layer = LocallyGroupedAttention(64, heads=2, window=(7, 14), bias="relative")
    assert set(layer.state_dict()) == set(PARAMETERS)
    assert layer.state_dict()["relative_position_bias_table"].shape == (13 * 27, 2)
    assert set(LocallyGroupedAttention(64, heads=2, window=7).state_dict()) == set(PARAMETERS) - {
        "relative_position_bias_table"
    }


def test_one_layer_serves_maps_of_any_size_and_both_modes() -> None:
    layer = LocallyGroupedAttention(32, heads=1, window=7, pattern="shifted", padding="masked")
    for height, width in ((14, 14), (15, 22), (7, 7), (14, 14)):
        x = torch.randn(1, height, width, 32, requires_grad=True)
        out = layer(x)
        assert out.shape == x.shape
        out.sum().backward()
        with torch.inference_mode():
            torch.testing.assert_close(layer(x.detach()), out.detach())


def test_every_parameter_gets_a_gradient() -> None:
    layer = LocallyGroupedAttention(32, heads=2, window=7, bias="relative", pattern="shifted")
    layer(torch.randn(2, 14, 14, 32)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in layer.parameters())


def test_a_copy_has_a_bias_table_of_its_own() -> None:
    layer = LocallyGroupedAttention(32, heads=1, window=7, bias="relative")
    x = torch.randn(1, 7, 7, 32)
    with torch.no_grad():
        before = layer(x)
        twin = copy.deepcopy(layer)
        assert twin.relative_position_bias_table is not None
        twin.relative_position_bias_table.add_(torch.randn_like(twin.relative_position_bias_table))
        assert not torch.equal(twin(x), before)
        assert torch.equal(layer(x), before)


def test_a_converted_layer_computes_in_the_new_dtype() -> None:
    layer = LocallyGroupedAttention(32, heads=1, window=7, bias="relative", pattern="shifted")
    x = torch.randn(1, 14, 14, 32)
    with torch.no_grad():
        single = layer(x)
        half = layer.to(torch.bfloat16)(x.bfloat16())
    assert half.dtype is torch.bfloat16
    torch.testing.assert_close(half.float(), single, atol=0.1, rtol=0.1)


def test_a_backend_of_the_whole_map_pads_before_the_projection_too() -> None:
    _, weights, x, expected = published("twins_padded")
    layer = LocallyGroupedAttention(64, heads=2, window=7, backend=faults.OnMap())
    layer.load_state_dict(weights)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"dim": 65, "heads": 2, "window": 7}, "heads: 2 heads do not divide 65 channels"),
        ({"dim": 64, "heads": 2, "window": 7, "pattern": "round"}, "'round' is not a valid Pattern"),
    ],
)
def test_a_contradiction_is_one_sentence(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ProblemError, match=sentence):
        LocallyGroupedAttention(**arguments)  # type: ignore[arg-type]


def test_a_backend_that_always_shifts_wants_it_said() -> None:
    with pytest.raises(ProblemError, match=r"swin always computes shifted, got grouped \(give pattern='shifted'\)"):
        LocallyGroupedAttention(64, heads=2, window=7, backend="swin")


@pytest.mark.parametrize("window", [0, -7, "7x14", (7,), (7, 0)])
def test_a_window_that_is_none_is_refused(window: object) -> None:
    with pytest.raises(ProblemError, match=r"window: .* \(allowed: 7, or \(7, 14\) for height and width\)"):
        LocallyGroupedAttention(64, heads=2, window=window)  # type: ignore[arg-type]


def test_a_package_that_is_absent_is_named_when_it_is_needed() -> None:
    layer = LocallyGroupedAttention(64, heads=2, window=7, backend="xformers")
    with pytest.raises(ProblemError, match="Xformers: xformers has no kernels for cpu"):
        layer(torch.randn(1, 7, 7, 64))


def test_the_index_in_published_checkpoints_is_passed_over() -> None:
    layer = LocallyGroupedAttention(64, heads=2, window=7, bias="relative")
    weights = {**layer.state_dict(), "relative_position_index": torch.zeros(49, 49, dtype=torch.long)}
    layer.load_state_dict(weights)


def test_a_layer_forgets_shapes_it_has_not_seen_for_long() -> None:
    layer = LocallyGroupedAttention(32, heads=1, window=2)
    for height in range(2, 30):
        layer(torch.randn(1, height, 4, 32))
    assert len(layer._prepared) <= 8


def test_an_unknown_backend_is_one_sentence() -> None:
    with pytest.raises(BackendError, match="there is no backend 'fast'"):
        LocallyGroupedAttention(64, heads=2, window=7, backend="fast")


def test_an_input_of_another_shape_is_one_sentence() -> None:
    layer = LocallyGroupedAttention(64, heads=2, window=7)
    with pytest.raises(ProblemError, match=r"shape \(1, 64, 14, 14\) \(allowed: \[batch, H, W, 64\]\)"):
        layer(torch.randn(1, 64, 14, 14))


def test_what_the_backend_cannot_compute_is_named() -> None:
    layer = LocallyGroupedAttention(64, heads=2, window=7, bias="relative", backend=faults.Right())
    with pytest.raises(ProblemError, match=r"Right: bias relative \(allowed: none\)"):
        layer(torch.randn(1, 14, 14, 64))


def best_layer(tmp_path: Path, **cells: Sequence[float]) -> LocallyGroupedAttention:
    """A layer whose backend is chosen by a run of these cells, of maps of 14 x 14."""
    records = [one for name, latencies in cells.items() for one in cell(name, latencies)]
    table(records, suite="s").to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "environment.json").write_text(json.dumps(environment().to_json()))
    return LocallyGroupedAttention(64, heads=2, window=7, backend="best", runs=tmp_path)


def test_the_best_backend_of_a_stored_run_computes_the_same_as_when_it_is_named(tmp_path: Path) -> None:
    layer = best_layer(tmp_path, naive=(1.0, 1.0), sdpa=(2.0, 2.0))
    named = LocallyGroupedAttention(64, heads=2, window=7, backend="naive")
    named.load_state_dict(layer.state_dict())
    x = torch.randn(2, 14, 14, 64)
    with torch.no_grad():
        assert torch.equal(layer(x), named(x))
    assert "backend=best" in repr(layer)


def test_the_best_backend_is_loaded_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def remembering(name: str) -> object:
        loaded.append(name)
        return load(name)

    monkeypatch.setattr("attnbench.layer.load", remembering)
    layer = best_layer(tmp_path, naive=(2.0, 2.0), sdpa=(1.0, 1.0))
    with torch.no_grad():
        layer(torch.randn(2, 14, 14, 64))
        layer(torch.randn(2, 14, 14, 64))
    assert loaded == ["sdpa"]


def test_without_a_run_that_covers_the_input_there_is_no_best_backend(tmp_path: Path) -> None:
    layer = best_layer(tmp_path, naive=(1.0, 1.0))
    with (
        torch.no_grad(),
        pytest.raises(ProblemError, match="backend: best: no backend can be recommended for") as caught,
    ):
        layer(torch.randn(2, 28, 28, 64))
    assert str(caught.value).endswith("or name a backend")
