"""The pages of docs/: what is written by the program is fresh, commands are understood, blocks run as printed."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.main import get_command

from attnbench.cli import app
from attnbench.core.record import Flag, Status
from attnbench.suite.published_models import MODELS
from tests import stand_in
from tests.conftest import TESTS, Cli
from tests.test_readme import DOCS, PAGES
from tests.warm import Warm

ROOT = TESTS.parent
BLOCK = re.compile(
    r"^(?:<!-- (?P<marker>[^>]+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE
)
KERNEL = """\
from torch.nn.functional import scaled_dot_product_attention

from attnbench.backends.base import Backend


class Mine(Backend):
"""


def blocks(language: str) -> list[tuple[str, str, str]]:
    """Page, marker and text of every fenced block in a language."""
    return [
        (page, found["marker"] or "", found["text"])
        for page, text in DOCS.items()
        for found in BLOCK.finditer(text)
        if found["language"] == language
    ]


@pytest.fixture(scope="module")
def written() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs", ROOT / ".ci" / "docs.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_the_program_writes_of_the_docs_is_fresh(written: ModuleType, warm: Warm) -> None:
    for file, content in written.pages(warm.command()).items():
        assert (ROOT / file).read_text(encoding="utf-8") == content, f"{file}: run python .ci/docs.py"


def test_pictures_load_nothing_from_elsewhere(written: ModuleType) -> None:
    for file in written.PICTURES:
        assert "url(http" not in (ROOT / file).read_text()


def commands_shown() -> list[tuple[str, str]]:
    found = []
    for language in ("bash", "yaml", "groovy"):
        for page, _, text in blocks(language):
            joined = re.sub(r"\\\n\s*", " ", text)
            for line in joined.splitlines():
                command = re.search(r"(?:^|[ '&/])attnbench ([a-z].*)", re.sub(r"sh '(.*)'", r"\1", line))
                if command and not re.match(r"\s*#", line):
                    found.append((page, re.split(r" (?:\|\||&&|>|#) ?", command[1])[0].strip()))
    return found


@cache
def all_commands() -> Any:
    return get_command(app)


@pytest.mark.parametrize(("page", "command"), sorted(set(commands_shown())))
def test_every_command_that_a_page_shows_is_understood(page: str, command: str) -> None:
    words = shlex.split(re.sub(r"\$\w+", "name", command))
    group: Any = all_commands()
    while words and words[0] in getattr(group, "commands", {}):
        group, words = group.commands[words[0]], words[1:]
    assert group.name != "attnbench", (page, command)
    group.make_context("attnbench", words)


def test_the_pages_show_commands() -> None:
    shown = {page for page, _ in commands_shown()}
    assert {"README", "quickstart", "suites", "regressions", "recipes", "cli", "report"} <= shown


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with kernels at two revisions; what is measured are stand-ins."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in (".", "old", "new"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "my_kernels.py").write_text("class Mine: ...\n")
    (tmp_path / "report.html").write_text("")
    return tmp_path


@pytest.mark.parametrize("page", ["quickstart", "suites"])
def test_the_commands_of_a_page_run_one_after_the_other(cli_here: Cli, place: Path, page: str) -> None:
    ran = 0
    for shown, marker, text in blocks("bash"):
        if shown != page or not marker.startswith("commands"):
            continue
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            assert words[0] == "attnbench"
            if words[1] == "report":
                continue  # its library is bundled for seconds; tests/report/test_page.py runs it
            fast = ("--set", "device=cpu", "--max-rounds", "10") if words[1] == "ab" else ()
            done = cli_here(*words[1:], *fast)
            # Two cases of problems that the stand-ins' suites do not cover are declined, and that is an answer.
            assert done.returncode in ((0, 4) if words[1] == "recommend" else (0,)), (line, done.stderr)
            ran += 1
    assert ran >= 4
    assert list(place.glob("*.yaml"))


@pytest.mark.parametrize("page", ["README", "python"])
def test_python_runs_as_printed(cli_here: Cli, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cli_here("run", "quick", "--set", "measure.processes=2", check=0)
    stand_in.use(monkeypatch)
    ran = 0
    for shown, marker, text in blocks("python"):
        if shown != page or not marker.startswith("python"):
            continue
        if marker == "python plots":
            continue  # matplotlib is no dependency; the names of columns are tested elsewhere
        exec(compile(text, page, "exec"), {})
        ran += 1
    assert ran >= 1


def test_the_kernel_of_the_docs_is_that_of_the_readme() -> None:
    kernels = {text for _, _, text in blocks("python") if text.startswith(KERNEL)}
    assert len(kernels) == 1
    assert DOCS["backends"].count(next(iter(kernels))) == 1


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page() -> None:
    site = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]

    def files(entries: Any) -> list[str]:
        if isinstance(entries, str):
            return [entries]
        values = entries.values() if isinstance(entries, dict) else entries
        return [file for value in values for file in files(value)]

    listed = files(site["nav"])
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    assert len(set(listed)) == len(listed)


def test_pages_link_to_nothing_outside_the_site() -> None:
    for path in PAGES:
        if path.parent.name == "docs":
            assert "](../" not in DOCS[path.stem], path.name


def test_the_glossary_and_the_results_name_every_status_and_flag() -> None:
    for status in Status:
        assert f"`{status}`" in DOCS["results"]
        assert f"`{status}`" in DOCS["glossary"]
    for flag in Flag:
        assert f"`{flag}`" in DOCS["results"], flag


def test_the_suites_page_names_every_model() -> None:
    for name in MODELS:
        assert f"`{name}`" in DOCS["suites"]


def test_headings_that_links_name_exist() -> None:
    anchors = {
        page: {re.sub(r"[^a-z0-9 -]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
               for line in text.splitlines() if line.startswith("#")}
        for page, text in DOCS.items()
    }  # fmt: skip
    for page, text in DOCS.items():
        for target, anchor in re.findall(r"\]\((?!http)([\w./-]*)#([\w-]+)\)", text):
            other = Path(target).stem or page
            assert anchor in anchors[other], (page, target, anchor)


def test_the_json_of_suites_is_what_editors_get(cli_here: Cli) -> None:
    assert json.loads(cli_here("schema", check=0).stdout)["properties"]["sweep"]
