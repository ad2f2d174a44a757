"""What is asked for is understood or turned down before anything is measured, and written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attnbench.comparison.definitions import Verdict
from attnbench.core.errors import LostOutputError, OutputError, UsageError
from attnbench.exports.writing import GITHUB, KINDS, Export, check, parse_export, write
from tests.exports.samples import EVERY_RESULTS, cell, compared, comparison_of

FILES = [kind for kind in KINDS if kind != GITHUB]
RED = compared(comparison_of([cell(Verdict.REGRESSED)]))
VARIABLES = ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "GITHUB_ACTIONS")


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A step on GitHub: its files are ``summary`` and ``output``."""
    for name in ("summary", "output"):
        (tmp_path / name).touch()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    return tmp_path


log: list[str] = []
"""Where lines go that a test does not look at."""


def unsaid(line: str) -> None:
    pytest.fail(f"nothing was to be said: {line}")


def full(monkeypatch: pytest.MonkeyPatch, beginning: bytes) -> None:
    """Lets the disk be full half-way through what begins so."""
    put = Path.write_bytes

    def write_bytes(path: Path, content: bytes) -> int:
        if not content.startswith(beginning):
            return put(path, content)
        put(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write_bytes)


@pytest.mark.parametrize("kind", FILES)
def test_a_kind_and_its_file_are_understood(kind: str) -> None:
    assert parse_export(f"{kind}=out/a=b.txt") == Export(kind=kind, path=Path("out/a=b.txt"))


def test_github_needs_no_file() -> None:
    assert parse_export("github") == Export(kind=GITHUB, path=None)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("jnuit=a.xml", "--export jnuit=a.xml: 'jnuit' is not a kind of export (allowed: junit, github, "),
        ("junit", "--export junit: no file to write; give --export junit=FILE"),
        ("csv=", "--export csv=: no file to write; give --export csv=FILE"),
        ("github=a.md", "--export github=a.md: github goes where GitHub's variables say; leave out =a.md"),
        ("json=new/", "--export json=new/: new/ is a directory; give a file in it"),
        ("csv=.", "--export csv=.: . is a directory; give a file in it"),
        ("", "--export : '' is not a kind of export"),
    ],
)
def test_a_mistake_is_named_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_export(text)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "meant"), [("jnuit", "junit"), ("JUNIT", "junit"), ("github-actions", "github-action-benchmark")]
)
def test_a_near_miss_is_guessed(given: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean {meant}\\?"):
        parse_export(f"{given}=a")
    with pytest.raises(UsageError) as caught:
        parse_export("zzz=a")
    assert "did you mean" not in str(caught.value)


def test_two_exports_to_one_file_are_a_mistake_however_it_is_spelled(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    paths = (tmp_path / "a", tmp_path / "there" / ".." / "a")
    with pytest.raises(UsageError, match=r"--export csv and --export junit both write .*a$"):
        check([Export(kind=kind, path=path) for kind, path in zip(("junit", "csv"), paths, strict=True)])
    second = tmp_path / "bench-throughput.json"
    benchmark = Export(kind="github-action-benchmark", path=tmp_path / "bench.json")
    with pytest.raises(UsageError, match="both write"):
        check([benchmark, Export(kind="json", path=second)])
    check([benchmark, Export(kind="json", path=tmp_path / "other.json")])


@pytest.mark.usefixtures("job")
def test_github_twice_is_a_mistake() -> None:
    check([Export(kind=GITHUB)])
    with pytest.raises(UsageError, match="--export github is given twice; once is enough"):
        check([Export(kind=GITHUB), Export(kind=GITHUB)])


def obstacles(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    return {
        "it is a directory; give a file in it": tmp_path / "directory",
        "file is a file": tmp_path / "file" / "below" / "report.xml",
        "it is no regular file": Path(os.devnull),
    }


@pytest.mark.parametrize("why", ["it is a directory; give a file in it", "file is a file", "it is no regular file"])
def test_what_cannot_be_written_is_known_before(tmp_path: Path, why: str) -> None:
    path = obstacles(tmp_path)[why]
    with pytest.raises(OutputError, match=f"{why}$") as caught:
        check([Export(kind="junit", path=path)])
    assert str(caught.value).startswith(f"--export junit={path}: ")


def test_a_directory_without_the_right_to_write_is_known_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests may run as root, who may write anywhere.
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path)
    with pytest.raises(OutputError, match=f"{tmp_path.name} cannot be written to$"):
        check([Export(kind="junit", path=tmp_path / "new" / "report.xml")])


def test_a_file_that_cannot_even_be_looked_for_is_turned_down(tmp_path: Path) -> None:
    endless = parse_export(f"junit={tmp_path / ('x' * 300)}")
    with pytest.raises(OutputError, match=r"File name too long$"):
        check([endless])
    with pytest.raises(LostOutputError, match=r"File name too long$"):
        write([endless], RED, say=unsaid)


def test_checking_leaves_nothing_behind(tmp_path: Path) -> None:
    check([Export(kind=kind, path=tmp_path / "new" / kind) for kind in FILES])
    assert list(tmp_path.iterdir()) == []


def test_checking_leaves_the_files_of_github_as_they_are(job: Path) -> None:
    (job / "output").write_text("key=value")
    check([Export(kind=GITHUB)])
    assert [(job / name).read_text() for name in ("output", "summary")] == ["key=value", ""]


@pytest.mark.parametrize("why", ["it is a directory; give a file in it", "file is a file", "it is no regular file"])
def test_even_unchecked_a_place_that_is_no_files_is_left_alone(tmp_path: Path, why: str) -> None:
    path = obstacles(tmp_path)[why]
    kept = path.exists() and path.stat().st_mode
    with pytest.raises(LostOutputError):
        write([Export(kind="csv", path=path)], RED, say=unsaid)
    assert (path.exists() and path.stat().st_mode) == kept


@pytest.mark.parametrize("name", EVERY_RESULTS)
def test_every_kind_writes_its_files_and_nothing_else(tmp_path: Path, name: str) -> None:
    write([Export(kind=kind, path=tmp_path / f"{kind}.x") for kind in FILES], EVERY_RESULTS[name], say=unsaid)
    expected = {f"{kind}.x" for kind in FILES} | {"github-action-benchmark-throughput.x"}
    assert {path.name for path in tmp_path.iterdir()} == expected
    for path in tmp_path.iterdir():
        text = path.read_text(encoding="utf-8")
        assert text.endswith("\n")


def test_parents_are_made_and_a_link_stays_a_link(tmp_path: Path) -> None:
    write([Export(kind="csv", path=tmp_path / "a" / "b" / "report.csv")], RED, say=unsaid)
    written = (tmp_path / "a" / "b" / "report.csv").read_text()
    assert written.startswith("case,backend,verdict")
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write([Export(kind="csv", path=tmp_path / "link")], RED, say=unsaid)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == written


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    before = os.umask(0o022)
    try:
        write([Export(kind="csv", path=path)], RED, say=unsaid)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_full_disk_costs_one_file_which_is_as_it_was_and_the_others_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.xml").write_text("as it was")
    full(monkeypatch, b"<?xml")
    exports = [
        Export(kind="junit", path=tmp_path / "report.xml"),
        Export(kind="csv", path=tmp_path / "report.csv"),
    ]
    with pytest.raises(LostOutputError) as caught:
        write(exports, RED, say=unsaid)
    assert str(caught.value) == f"{tmp_path / 'report.xml'} cannot be written: No space left on device"
    with pytest.raises(LostOutputError):
        write(exports[:1], RED, say=unsaid)
    assert (tmp_path / "report.xml").read_text() == "as it was"
    assert {path.name for path in tmp_path.iterdir()} == {"report.xml", "report.csv"}
    assert (tmp_path / "report.csv").read_text().startswith("case,backend,verdict")


def test_all_that_was_lost_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    paths = [tmp_path / "file" / name for name in ("a", "b")]
    with pytest.raises(LostOutputError) as caught:
        write([Export(kind="github-action-benchmark", path=paths[0])], RED, say=unsaid)
    assert str(caught.value).count("cannot be written") == 2
    assert "\n" not in str(caught.value)


def test_github_gets_summary_annotations_and_outputs(job: Path) -> None:
    said: list[str] = []
    write([Export(kind=GITHUB)], RED, say=said.append)
    assert (job / "summary").read_text().startswith("**FAIL")
    assert "failed=true\n" in (job / "output").read_text()
    assert [line.partition(" ")[0] for line in said] == ["::error"]


@pytest.mark.parametrize(
    ("missing", "left"),
    [("GITHUB_STEP_SUMMARY", "summary"), ("GITHUB_OUTPUT", "output"), ("GITHUB_ACTIONS", "annotations")],
)
def test_a_part_without_its_variable_is_skipped(
    job: Path, monkeypatch: pytest.MonkeyPatch, missing: str, left: str
) -> None:
    monkeypatch.delenv(missing)
    said: list[str] = []
    check([Export(kind=GITHUB)])
    write([Export(kind=GITHUB)], RED, say=said.append)
    filled = {name: bool((job / name).read_text()) for name in ("summary", "output")}
    assert {**filled, "annotations": bool(said)} == {
        name: name != left for name in ("summary", "output", "annotations")
    }


@pytest.mark.parametrize("ask", [check, lambda exports: write(exports, RED, say=unsaid)])
def test_elsewhere_github_is_a_mistake(ask: Callable[[Any], None]) -> None:
    with pytest.raises(UsageError) as caught:
        ask([Export(kind=GITHUB)])
    assert str(caught.value) == (
        "--export github: not a job on GitHub; it needs GITHUB_STEP_SUMMARY, GITHUB_OUTPUT or GITHUB_ACTIONS to be set"
    )


def test_github_files_that_cannot_be_written_are_known_before_and_cost_nothing_else(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(job))
    with pytest.raises(
        OutputError, match=r"^--export github: GITHUB_STEP_SUMMARY: .* cannot be written: Is a directory$"
    ):
        check([Export(kind=GITHUB)])
    with pytest.raises(LostOutputError, match="Is a directory"):
        write([Export(kind=GITHUB)], RED, say=log.append)
    assert "failed=true\n" in (job / "output").read_text()


@pytest.mark.parametrize("earlier", ["", "key=value\n", "key=value"])
def test_what_earlier_commands_of_the_step_wrote_stays_and_keeps_its_line(job: Path, earlier: str) -> None:
    for name in ("summary", "output"):
        (job / name).write_text(earlier)
    write([Export(kind=GITHUB)], RED, say=log.append)
    lines = (job / "output").read_text().splitlines()
    assert lines[: bool(earlier)] == [earlier.strip()] * bool(earlier)
    assert lines[bool(earlier)] == "failed=true"
    summary = (job / "summary").read_text()
    assert summary.startswith(f"{earlier.strip()}\n\n**FAIL" if earlier else "**FAIL")


@pytest.mark.parametrize("taken_bytes", [0, 1, 500_000, 2**20 - 5_000])
def test_the_cap_is_that_of_the_whole_step(job: Path, taken_bytes: int) -> None:
    (job / "summary").write_text("x" * taken_bytes)
    cells = [cell(Verdict.REGRESSED, f"{'long ' * 190}{number}") for number in range(1_200)]
    write([Export(kind=GITHUB)], compared(comparison_of(cells)), say=log.append)
    assert 2**20 - 1_200 < (job / "summary").stat().st_size <= 2**20


def test_a_summary_without_room_is_lost_and_the_outputs_are_not(job: Path) -> None:
    (job / "summary").write_text("x" * (2**20 - 10))
    with pytest.raises(LostOutputError, match="summary is full: GitHub takes 1024 KiB of a step"):
        write([Export(kind=GITHUB)], RED, say=log.append)
    assert (job / "summary").stat().st_size == 2**20 - 10
    assert "failed=true\n" in (job / "output").read_text()


def test_nobody_waits_for_libraries_of_formats_that_he_does_not_ask_for() -> None:
    script = (
        "import sys; from attnbench.exports import writing; "
        "print([name for name in ('junitparser', 'prometheus_client') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
