"""The line of code that a reason names becomes that of an annotation, also where base and candidate are checked out."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from attnbench.core.record import Status
from attnbench.exports import github, junit
from attnbench.exports.places import CodePlace, place_of
from attnbench.exports.results import RunResults
from tests.exports.samples import run_of
from tests.samples import failed, record

RAISED = "ValueError: no kernel (my_kernels.py:41)"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    return tmp_path


def write(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_a_reason_without_a_line_has_no_place() -> None:
    assert place_of("no kernels for cpu (allowed: cuda)") is None
    assert place_of("") is None


@pytest.mark.usefixtures("workspace")
def test_a_file_that_is_not_found_is_named_as_the_reason_names_it() -> None:
    assert place_of(RAISED) == CodePlace(file="my_kernels.py", line=41)


def test_a_file_of_the_repository_is_named_by_its_path(workspace: Path) -> None:
    write(workspace / "src" / "my_kernels.py", workspace / ".venv" / "my_kernels.py")
    assert place_of(RAISED) == CodePlace(file="src/my_kernels.py", line=41)


def test_the_same_file_in_two_checkouts_is_named_once(workspace: Path) -> None:
    write(*(workspace / side / part for side in ("base", "candidate") for part in (".git/HEAD", "lib/my_kernels.py")))
    assert place_of(RAISED) == CodePlace(file="lib/my_kernels.py", line=41)


def test_of_two_files_of_one_name_none_is_guessed(workspace: Path) -> None:
    write(workspace / "a" / "my_kernels.py", workspace / "b" / "my_kernels.py")
    assert place_of(RAISED) == CodePlace(file="my_kernels.py", line=41)


@pytest.mark.usefixtures("workspace")
def test_annotations_and_junit_name_file_and_line() -> None:
    results = RunResults(run=run_of([record(), failed("b", Status.ERROR, RAISED), failed("c", Status.ERROR, "x")]))
    first, second = github.workflow_commands(results)
    assert first.startswith("::error file=my_kernels.py,line=41,title=")
    assert second.startswith("::error title=")
    document = ET.fromstring(junit.render(results))
    assert [(suite.get("file"), suite.get("tests")) for suite in document] == [(None, "2"), ("my_kernels.py", "1")]
    assert "\n  at my_kernels.py:41" in str(document[1].findtext(".//error"))
    assert document.get("tests") == "3"
