"""``suites``, ``runs``, the filters of ``show``, examples of help and completion of the shell."""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from attnbench.backends import registry
from attnbench.cli import app
from attnbench.cli.examples import EXAMPLES
from attnbench.cli.suites import _MODEL_NAMES
from attnbench.core.problem import Pattern
from attnbench.suite.expansion import built_in_suites, load_suite
from attnbench.suite.published_models import MODELS
from tests.conftest import PYTHONPATH, Cli
from tests.warm import Warm


def test_suites_are_listed_with_the_question_each_answers(cli: Cli) -> None:
    text = cli("suites", check=0, COLUMNS="200").stdout
    for name in built_in_suites():
        assert name in text
        assert load_suite(name, known_backends=registry.names()).description in text
    listed = json.loads(cli("suites", "--format", "json", check=0).stdout)["suites"]
    assert [one["suite"] for one in listed] == list(built_in_suites())


def test_a_suite_is_shown_as_it_is_written(cli: Cli) -> None:
    assert cli("suites", "show", "quick", check=0).stdout == built_in_suites()["quick"].read_text()
    assert "did you mean quick?" in cli("suites", "show", "quikc", check=2).stderr


def test_a_new_suite_is_commented_and_runs(cli_here: Cli, tmp_path: Path) -> None:
    done = cli_here("suites", "init", "sub/my.yaml", check=0)
    assert done.stdout == "sub/my.yaml\n"
    assert "attnbench run sub/my.yaml" in done.stderr
    text = (tmp_path / "sub" / "my.yaml").read_text()
    assert text.count("#") > 10
    assert load_suite(tmp_path / "sub" / "my.yaml", known_backends=registry.names()).name == "my"
    cli_here("run", "sub/my.yaml", "--output", "out", "--set", "measure.processes=1", check=0)


def test_a_suite_that_is_there_is_kept(cli_here: Cli, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("precious")
    assert "my.yaml exists; give another name, or remove it" in cli_here("suites", "init", "my.yaml", check=2).stderr
    assert (tmp_path / "my.yaml").read_text() == "precious"


def cases_of(path: Path) -> list[tuple[tuple[int, int], int, int, str]]:
    suite = load_suite(path, known_backends=registry.names())
    problems = [case.problem for case in suite.cases("cpu") if case.problem.mode == "forward"]
    return [((one.height, one.width), one.window_height, one.heads, str(one.pattern)) for one in problems]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ("--model", "swin_t"),
            [(56, 7, 3), (56, 7, 3), (28, 7, 6), (28, 7, 6), (14, 7, 12), (14, 7, 12), (7, 7, 24)],
        ),
        (
            ("--model", "swin_t", "--pixels", "384"),
            [(96, 12, 3), (96, 12, 3), (48, 12, 6), (48, 12, 6), (24, 12, 12), (24, 12, 12), (12, 12, 24)],
        ),
        (("--model", "twins_svt_b"), [(56, 7, 3), (28, 7, 6), (14, 7, 12), (7, 7, 24)]),
        (
            ("--model", "twins_svt_s", "--patch", "8", "--window", "14"),
            [(28, 14, 2), (14, 14, 4), (7, 7, 8), (4, 4, 16)],
        ),
    ],
)
def test_a_model_gives_its_stages_as_published(
    cli_here: Cli, tmp_path: Path, options: tuple[str, ...], expected: list[tuple[int, int, int]]
) -> None:
    cli_here("suites", "init", "m.yaml", *options, check=0)
    found = cases_of(tmp_path / "m.yaml")
    assert [(height, window, heads) for (height, _), window, heads, _ in found] == expected
    shifted = {heads for _, _, heads, pattern in found if pattern == Pattern.SHIFTED}
    assert shifted == ({3, 6, 12} if options[1] == "swin_t" else set())


def test_pixels_that_patches_and_windows_do_not_divide_say_that_maps_are_padded(cli_here: Cli, tmp_path: Path) -> None:
    cli_here("suites", "init", "m.yaml", "--model", "twins_svt_s", "--pixels", "800x1333", check=0)
    sides = [size for size, *_ in cases_of(tmp_path / "m.yaml")]
    assert sides == [(200, 334), (100, 167), (50, 84), (25, 42)]
    assert "are padded" in (tmp_path / "m.yaml").read_text()


@pytest.mark.parametrize("name", MODELS)
def test_every_model_writes_a_suite_that_loads_and_names_itself(cli_here: Cli, tmp_path: Path, name: str) -> None:
    cli_here("suites", "init", "m.yaml", "--model", name, check=0)
    assert MODELS[name].title in load_suite(tmp_path / "m.yaml", known_backends=registry.names()).description
    assert tuple(MODELS) == _MODEL_NAMES


@pytest.mark.parametrize("name", ["swin_t", "twins_svt_s", "twins_svt_b", "twins_svt_l"])
def test_models_agree_with_the_suites_that_come_with_attnbench(cli_here: Cli, tmp_path: Path, name: str) -> None:
    cli_here("suites", "init", "m.yaml", "--model", name, check=0)
    assert set(cases_of(tmp_path / "m.yaml")) == set(cases_of(built_in_suites()[name]))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--model", "swin_x"), "--model swin_x: not a model (allowed: swin_t, "),
        (("--pixels", "384"), "--pixels, --patch and --window go with --model"),
        (("--model", "swin_t", "--pixels", "big"), "--pixels big: not a size"),
        (("--model", "swin_t", "--pixels", "16"), "--pixels 16x16: too small for 4 stages and patches of 4"),
        (("--model", "swin_t", "--window", "0"), "--window 0: not a size (allowed: 1 or more)"),
    ],
)
def test_a_suite_that_cannot_be_written_is_one_sentence(
    cli_here: Cli, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    assert sentence in cli_here("suites", "init", "m.yaml", *arguments, check=2).stderr
    assert not (tmp_path / "m.yaml").exists()


@pytest.fixture
def several(stored: Path, tmp_path: Path) -> list[Path]:
    """Three runs under results/, oldest first, and the two sides of a comparison."""
    places = []
    for number, day in enumerate(("01", "02", "03")):
        place = tmp_path / "results" / "sample" / "m" / f"run{number}"
        shutil.copytree(stored, place)
        environment = json.loads((place / "environment.json").read_text())
        environment["started_at"] = f"2026-01-{day}T03:04:05+00:00"
        (place / "environment.json").write_text(json.dumps(environment))
        places.append(place)
    sides = tmp_path / "results" / "sample" / "m" / "ab"
    for side in ("base", "candidate"):
        shutil.copytree(places[0], sides / side)
    (sides / "pairs.json").write_text(json.dumps({"kind": "ab"}))
    return places


@pytest.mark.usefixtures("several")
def test_runs_are_listed_newest_first(cli_here: Cli) -> None:
    rows = json.loads(cli_here("runs", "--format", "json", check=0).stdout)["runs"]
    assert [row["path"] for row in rows if row["kind"] == "run"] == [f"results/sample/m/run{n}" for n in (2, 1, 0)]
    assert [row["path"] for row in rows if row["kind"] == "ab"] == ["results/sample/m/ab"]
    text = cli_here("runs", check=0).stdout
    assert text.index("run2") < text.index("run1") < text.index("run0")
    assert "Test Machine" in text
    assert cli_here("runs", "--suite", "other", check=0).stdout.startswith("No runs in results.")


def test_without_results_there_is_an_empty_list(cli_here: Cli) -> None:
    assert "attnbench run SUITE makes one" in cli_here("runs", check=0).stdout


def test_latest_is_the_newest_run_wherever_a_run_is_asked_for(cli_here: Cli, several: list[Path]) -> None:
    assert "2026-01-03" in cli_here("show", "latest", check=0).stdout
    assert cli_here("baseline", "save", "latest", check=0).stdout.startswith("baselines/main/test-machine-")
    done = cli_here("compare", str(several[0]), "latest", check=0)
    assert "run2" in done.stdout
    assert cli_here("plot", "latest", check=0).stdout
    assert "recommend" not in cli_here("recommend", "--resolution", "14", "--window", "7", "--heads", "2", "--from",
                                       "latest").stderr  # fmt: skip


def test_latest_without_a_run_is_one_sentence(cli_here: Cli) -> None:
    done = cli_here("show", "latest", check=2)
    assert done.stderr == "attnbench: latest: there is no run below results; attnbench run SUITE makes one\n"


def test_old_runs_are_removed_when_that_is_confirmed(cli_here: Cli, several: list[Path], tmp_path: Path) -> None:
    asked = cli_here("runs", "rm", "--keep", "1", check=2)
    assert "2 runs would be removed; say so with --yes" in asked.stderr
    assert all(place.exists() for place in several)
    cli_here("runs", "rm", "--keep", "1", "--yes", check=0)
    assert [place.exists() for place in several] == [False, False, True]
    assert (tmp_path / "results" / "sample" / "m" / "ab").exists(), "comparisons are counted by themselves"
    cli_here("runs", "rm", "--older-than", "1d", "--yes", check=0)
    assert not (tmp_path / "results" / "sample").exists()
    assert "nothing to remove" in cli_here("runs", "rm", "--keep", "1", check=0).stderr


def test_nothing_is_removed_that_holds_another_run(cli_here: Cli, several: list[Path]) -> None:
    table = several[0].parents[2] / "table.csv"
    cli_here("show", str(several[2]), "--export", f"csv={table}", check=0)
    os.utime(table.parent, (0, 0))
    inside = several[0] / "again"
    shutil.copytree(several[2], inside)
    environment = json.loads((inside / "environment.json").read_text())
    environment["started_at"] = datetime.now(UTC).isoformat()
    (inside / "environment.json").write_text(json.dumps(environment))
    cli_here("runs", "rm", "--older-than", "1d", "--yes", check=0)
    assert [place.exists() for place in (*several, inside, table)] == [True, False, False, True, True]


def test_the_directory_that_one_is_in_can_be_removed(
    cli_here: Cli, several: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(several[0])
    cli_here("runs", "rm", "--keep", "0", "--directory", ".", "--yes", check=0)
    assert not several[0].exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "NAME"), ("report", "NAME", "-o", "y.html"), ("compare", "NAME", "NAME"), ("run", "NAME"),
        ("recommend", "--resolution", "14", "--window", "7", "--heads", "2", "--from", "NAME"),
        ("run", "quick", "--dry-run", "--assume", "NAME"), ("baseline", "save", "NAME"),
        ("runs", "--directory", "NAME"), ("publish", "NAME", "-o", "x"),
    ],
)  # fmt: skip
def test_a_name_that_is_too_long_is_one_sentence(cli_here: Cli, arguments: tuple[str, ...]) -> None:
    done = cli_here(*("a" * 300 if one == "NAME" else one for one in arguments), check=2)
    assert done.stderr.startswith("attnbench: ")
    assert "Traceback" not in done.stderr


def test_sizes_and_ages_beyond_any_number_are_one_sentence(cli_here: Cli, several: list[Path]) -> None:
    assert "not an age" in cli_here("runs", "rm", "--older-than", "999999d", check=2).stderr
    asked = ("recommend", "--resolution", "14", "--window", "7", "--heads", "2", "--from", str(several[0]))
    assert "not a size" in cli_here(*asked, "--memory-limit", "9" * 400, check=2).stderr


def test_names_of_runs_that_cannot_be_read_are_said_in_one_line(cli_here: Cli, several: list[Path]) -> None:
    bad = several[0].with_name("ev\x1b[31mil\nattnbench: all fine\x1b]0;title\x07")
    several[0].rename(bad)
    (bad / "journal.jsonl").write_text("{}\n")
    (bad / "table.parquet").unlink(missing_ok=True)
    said = cli_here("report", "results", "-o", "y.html", check=0).stderr
    assert "evil\\nattnbench: all fine" in said
    assert "\x1b" not in said


@pytest.mark.parametrize(("answer", "left"), [("y", 1), ("n", 3)])
def test_a_person_is_asked_before_runs_are_removed(
    several: list[Path], tmp_path: Path, warm: Warm, answer: str, left: int
) -> None:
    parent, child = pty.openpty()
    os.write(parent, f"{answer}\n".encode())
    done = subprocess.run(
        [*warm.command(), "runs", "rm", "--keep", "1"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": PYTHONPATH}, stdin=child, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    os.close(parent)
    os.close(child)
    assert "Remove 2 runs of 4?" in done.stderr
    assert done.returncode == 0
    assert sum(place.exists() for place in several) == left


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "say which runs: --older-than 30d, --keep 10, or both"),
        (("--older-than", "soon"), "--older-than soon: not an age (allowed: hours, days or weeks, as 12h, 30d or 8w)"),
        (("--keep", "-1"), "--keep -1: not a number of runs"),
    ],
)
@pytest.mark.usefixtures("several")
def test_a_removal_that_makes_no_sense_is_one_sentence(
    cli_here: Cli, arguments: tuple[str, ...], sentence: str
) -> None:
    assert sentence in cli_here("runs", "rm", *arguments, check=2).stderr


def test_a_suite_can_be_written_under_any_name(cli_here: Cli) -> None:
    name = "a\nname: evil \x1b[31m.yaml"
    cli_here("suites", "init", name, check=0)
    assert "cells: " in cli_here("run", name, "--dry-run", check=0).stderr
    again = ("measure={processes: 1}", "measure.max_time_s=0.02")
    cli_here("run", name, "--dry-run", "--set", again[0], "--set", again[1], check=0)


def test_show_filters_by_backend_case_and_status(cli_here: Cli, stored: Path) -> None:
    def cells(*options: str) -> set[tuple[str, str]]:
        shown = json.loads(cli_here("show", str(stored), "--format", "json", *options, check=0).stdout)
        return {(cell["case"], cell["backend"]) for cell in shown["cells"]}

    assert {backend for _, backend in cells("--backend", "sdpa")} == {"naive", "sdpa"}
    assert {case for case, _ in cells("--case", "stage 1 *")} == {"stage 1 shifted [layer]"}
    assert {case for case, _ in cells("--case", "stage 1 shifted [layer]")} == {"stage 1 shifted [layer]"}
    assert {backend for _, backend in cells("--status", "wrong_result", "--status", "unavailable")} == {
        "flash_attn", "sdpa_5d",
    }  # fmt: skip
    shown = cli_here("show", str(stored), "--backend", "swin", "--case", "stage 1", check=0).stdout
    assert "sdpa" not in shown
    assert "the run was interrupted" not in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--backend", "fast"), "--backend fast: not in this run (allowed: naive, sdpa"),
        (("--case", "stage 9*"), "--case stage 9*: not in this run (allowed: stage 1, "),
        (("--status", "fine"), "--status fine: not in this run (allowed: ok, unavailable"),
        (("--case", "stage 1", "--status", "oom"), "no cell matches all of these filters"),
    ],
)
def test_a_filter_that_finds_nothing_says_what_there_is(
    cli_here: Cli, stored: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    assert sentence in cli_here("show", str(stored), *arguments, check=2).stderr


def commands(group: Any = None, name: str = "") -> dict[str, Any]:
    group = group or get_command(app)
    found = {name: group}
    for word, one in getattr(group, "commands", {}).items():
        found |= commands(one, f"{name} {word}".strip())
    return found


def test_every_command_has_examples_that_the_command_line_understands() -> None:
    known = commands()
    assert set(EXAMPLES) == set(known)
    for name, examples in EXAMPLES.items():
        for example in examples:
            words = shlex.split(example.partition(" > ")[0])
            length = max(size for size in (1, 2) if " ".join(words[:size]) in known)
            known[" ".join(words[:length])].make_context("attnbench", words[length:])
            assert example.startswith(name)


def test_every_summary_is_shown_whole(cli: Cli) -> None:
    text = " ".join(cli("--help", check=0, COLUMNS="80").stdout.replace("│", " ").split())
    for name, one in commands().items():
        if name and " " not in name:
            first = " ".join(one.help.split("\n\n")[0].split())
            assert first in text, first
    assert "…" not in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("attnbench ru", {"run", "runs"}),
        ("attnbench run qui", {"quick"}),
        ("attnbench run quick --backend sdpa_m", {"sdpa_math"}),
        ("attnbench suites s", {"show"}),
        ("attnbench show la", {"latest"}),
    ],
)
def test_the_shell_completes_commands_suites_backends_and_latest(
    warm: Warm, shell: str, typed: str, offered: set[str]
) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": PYTHONPATH,
        "_ATTNBENCH_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - 1),
        "_TYPER_COMPLETE_ARGS": typed,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(warm.command(), env=environment, capture_output=True, text=True, check=False)
    words = set(done.stdout.replace('"', " ").replace(":", " ").split())
    assert offered <= words, done.stdout + done.stderr


def test_completion_can_be_installed() -> None:
    options = {option for parameter in get_command(app).params for option in parameter.opts}
    assert {"--install-completion", "--show-completion"} <= options
