"""The commands that show runs and say what to use: files, exit codes, one sentence for a mistake."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from attnbench.core.record import Record
from attnbench.report.page import shell
from tests.analysis.tables import cell, placed
from tests.conftest import Cli
from tests.report.samples import sweep
from tests.report.test_page import Page

Store = Callable[[Sequence[Record]], Path]
ASKED = ("--resolution", "28", "--window", "7", "--heads", "2")


@pytest.fixture(autouse=True)
def _without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "javascript", lambda: "window.vegaEmbed = null;")


@pytest.fixture
def swept(store_run: Store) -> Path:
    return store_run(placed(sweep("sdpa", 1.0), sweep("naive", 2.0)))


def test_a_report_is_one_file_and_its_name_is_printed(cli_here: Cli, stored: Path, tmp_path: Path) -> None:
    assert cli_here("report", str(stored), "-o", "made/page.html", check=0).stdout == "made/page.html\n"
    page = Page((tmp_path / "made" / "page.html").read_text(encoding="utf-8"))
    assert "Use sdpa" in page.text
    assert "Which one is fast?" in page.text
    assert "name: sample" in page.text
    cli_here("report", str(stored), "-o", "made/page.html", check=0)  # one that is there is replaced


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("report", "nothing"), "attnbench: nothing does not exist; give a run directory"),
        (("report", "RUN", "-o", "."), "attnbench: --output . cannot be written: it is a directory; give a file in it"),
        (("plot", "RUN", "--x", "heads"), "attnbench: --x heads: this run does not sweep it (allowed: "),
        (("plot", "RUN", "-o", "a.gif"), "attnbench: --output a.gif: not a picture's name (allowed: it ends in .png"),
        (("plot", "RUN", "-o", "x.png/a.png", "--metric", "nothing"), "Invalid value for '--metric'"),
        (("recommend", *ASKED, "--from", "nothing"), "attnbench: nothing does not exist; name a directory of runs"),
        (
            ("recommend", *ASKED),
            "attnbench: results does not exist; name a directory of runs (attnbench run SUITE makes one)",
        ),
        (
            ("recommend", *ASKED, "--from", "RUN", "--memory-limit", "2 apples"),
            "attnbench: --memory-limit 2 apples: not a size (allowed: bytes, or with KiB, MiB, GiB, KB, MB, GB)",
        ),
        (
            ("recommend", *ASKED, "--batch", "0", "--from", "RUN"),
            "attnbench: batch: 0 is not a size (allowed: 1 or more)",
        ),
        (
            ("publish", "nothing", "-o", "site"),
            "attnbench: nothing does not exist; give a directory of run directories",
        ),
        (("publish", "RUN", "-o", "RUN/suite.yaml"), "attnbench: --output "),
        (
            ("recommend", "--resolution", "0", "--window", "7", "--heads", "2", "--from", "RUN"),
            "attnbench: --resolution 0: not a size (allowed: 1 or more, as 56 or as 200x334)",
        ),
        (("show", "RUN", "--winners", "--format", "csv"), "attnbench: --winners goes with rich or markdown"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    cli_here: Cli, swept: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    done = cli_here(*(one.replace("RUN", str(swept)) for one in arguments), check=2)
    assert sentence in done.stderr
    assert not done.stdout


def test_a_page_below_a_file_is_refused_before_anything_is_read(cli_here: Cli, stored: Path) -> None:
    below = str(stored / "suite.yaml" / "page.html")
    assert "suite.yaml is a file" in cli_here("report", "nothing", "-o", below, check=2).stderr


@pytest.mark.usefixtures("swept")
def test_a_damaged_run_beside_others_is_left_out_and_named(cli_here: Cli, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "journal.jsonl").write_text("nonsense\n")
    done = cli_here("report", str(tmp_path), check=0)
    assert "Left out, because it cannot be read: " in done.stderr
    told = cli_here("recommend", *ASKED, "--from", str(tmp_path), check=0)
    assert "Left out, because it cannot be read: " in told.stderr
    assert "Use sdpa" in told.stdout
    assert (tmp_path / "report.html").exists()


def test_a_plot_goes_to_stdout_or_into_a_file(cli_here: Cli, swept: Path, tmp_path: Path) -> None:
    text = cli_here("plot", str(swept), "--x", "resolution", check=0).stdout
    assert "predicted slope 1" in text
    assert "\x1b" not in text
    assert cli_here("plot", str(swept), "-o", "made/plot.svg", check=0).stdout == "made/plot.svg\n"
    assert "<svg" in (tmp_path / "made" / "plot.svg").read_text(encoding="utf-8")


def test_a_recommendation_says_what_to_use_how_sure_and_on_what_basis(cli_here: Cli, swept: Path) -> None:
    text = " ".join(cli_here("recommend", *ASKED, "--from", str(swept), check=0).stdout.split())
    assert text.startswith("Use sdpa (surely the fastest) This very problem was measured (Test Machine")
    assert "b2 28x28 w7 h2 float32" in text  # as many images as were measured there


def test_a_recommendation_as_json(cli_here: Cli, swept: Path) -> None:
    done = cli_here("recommend", *ASKED, "--from", str(swept), "--format", "json", check=0)
    found = json.loads(done.stdout)
    assert (found["backend"], found["runner_up"], found["sure"], found["basis"]) == ("sdpa", "naive", True, "measured")
    assert [one["backend"] for one in found["candidates"]] == ["sdpa", "naive"]


def test_a_problem_that_runs_do_not_cover_exits_with_4_and_says_so_in_json_too(cli_here: Cli, swept: Path) -> None:
    asked = ("recommend", "--resolution", "280", "--window", "7", "--heads", "2", "--from", str(swept))
    done = cli_here(*asked, check=4)
    assert done.stderr.startswith("attnbench: no backend can be recommended for b1 280x280 w7 h2 float32: ")
    assert done.stderr.count("\n") == 1
    assert not done.stdout
    found = json.loads(cli_here(*asked, "--format", "json", check=4).stdout)
    assert found["backend"] is None
    assert found["reason"] in done.stderr


def test_between_sizes_a_recommendation_says_that_it_is_a_model(cli_here: Cli, store_run: Store) -> None:
    records = [
        one
        for side in (14, 28, 42, 56, 70)
        for one in cell("sdpa", [side * side / 1000] * 3, str(side), height=side, width=side)
    ]
    asked = ("--resolution", "35", "--window", "7", "--heads", "2", "--batch", "2")
    text = cli_here("recommend", *asked, "--from", str(store_run(placed(records))), check=0).stdout
    assert "Not measured: a power law through 5 measured cases says so" in " ".join(text.split())
    assert "no other backend was measured" in text


def test_winners_are_a_sheet(cli_here: Cli, swept: Path) -> None:
    text = cli_here("show", str(swept), "--winners", check=0).stdout
    assert "A sure winner: sdpa in 6 of 6 cases." in " ".join(text.split())
    assert "naive 2.000x (2.000 to" in text
    assert (
        "| map 28 float32 | sdpa | sure |"
        in cli_here("show", str(swept), "--winners", "--format", "markdown", check=0).stdout
    )


def test_a_site_is_published_and_its_index_is_named(cli_here: Cli, swept: Path, tmp_path: Path) -> None:
    done = cli_here("publish", str(swept.parent), "-o", "site", check=0)
    assert done.stdout == "site/index.html\n"
    assert "1 run, 1 of them read now" in done.stderr
    assert "Use sdpa" in Page((tmp_path / "site" / "index.html").read_text(encoding="utf-8")).text
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "journal.jsonl").write_text("nonsense\n")
    again = cli_here("publish", ".", "-o", "site", check=0)
    assert "1 run, 0 of them read now" not in again.stderr
    assert "Left out: damaged: " in again.stderr


def test_a_site_that_holds_something_else_is_left_alone(cli_here: Cli, swept: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    done = cli_here("publish", str(swept), "-o", ".", check=2)
    assert "attnbench: --output .: it holds index.html, which no publish wrote; give an empty directory" in done.stderr


def test_a_limit_of_memory_is_told_with_its_digits(cli_here: Cli, swept: Path) -> None:
    done = cli_here("recommend", *ASKED, "--from", str(swept), "--memory-limit", "1KiB", check=4)
    assert "its peak memory of 3 MiB is above the limit of 0.000977 MiB" in done.stderr
