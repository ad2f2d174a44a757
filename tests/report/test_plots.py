"""Pictures and plots on a terminal."""

from __future__ import annotations

import pytest

from attnbench.core.errors import UsageError
from attnbench.core.record import Status
from attnbench.report import plots
from attnbench.results.store import StoredRun
from tests.analysis.tables import cell, stored
from tests.report.samples import HOSTILE, sweep
from tests.samples import failed

STARTS = {".png": b"\x89PNG", ".svg": b"<svg", ".pdf": b"%PDF"}


def run() -> StoredRun:
    return stored(sweep(), sweep("sdpa", 1.0, position=1))


@pytest.mark.parametrize("suffix", plots.FORMATS)
def test_a_picture_is_written_in_its_format(suffix: str) -> None:
    assert plots.write_plot(run(), x=None, metric="latency", suffix=suffix).startswith(STARTS[suffix])


@pytest.mark.parametrize(("x", "metric"), [("dtype", "latency"), ("case", "memory"), ("resolution", "throughput")])
def test_every_axis_and_metric_has_a_picture(x: str, metric: str) -> None:
    text = plots.write_plot(run(), x=x, metric=metric, suffix=".svg").decode()
    assert plots.METRICS[metric].title in text
    assert "sdpa" in text


def test_a_picture_holds_names_as_text() -> None:
    picture = plots.write_plot(stored(sweep(HOSTILE, case=HOSTILE)), x="case", metric="latency", suffix=".svg").decode()
    assert "<img" not in picture
    assert "\u202e" not in picture


def test_a_terminal_shows_a_plot_for_every_series_with_its_backends_and_the_predicted_slope() -> None:
    text = plots.terminal_plots(run(), x="resolution", metric="latency", width=90, height=20, color=False)
    assert text.count("latency, ms: dtype") == 2
    assert "predicted slope 1" in text
    assert "naive" in text
    assert "56x56" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 90


def test_a_run_that_sweeps_nothing_is_shown_case_by_case() -> None:
    text = plots.terminal_plots(
        stored(cell("naive", (2.0,)), cell("sdpa", (1.0,), position=1)), x=None, metric="latency", width=80, height=20,
        color=False,
    )  # fmt: skip
    assert "stage 1: latency, ms" in text
    assert text.index("sdpa") < text.index("naive")


def test_what_cannot_be_drawn_is_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"--x heads: this run does not sweep it \(allowed: resolution, dtype, case\)"):
        plots.swept_along(run(), "heads")
    with pytest.raises(UsageError, match="has no measured cell, so there is nothing to draw"):
        plots.swept_along(stored([failed("naive", Status.OOM, "too much")]), None)
