"""What README and docs show is true: suites, backends, commands, names."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import attnbench
from attnbench.backends import registry
from attnbench.results.table import COLUMNS, PROBLEM
from attnbench.suite.expansion import built_in_suites, load_suite
from tests.conftest import TESTS, Cli

ROOT = TESTS.parent
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
DOCS = {path.stem: path.read_text(encoding="utf-8") for path in PAGES}


def fenced(marker: str) -> str:
    """The fenced block after ``<!-- marker -->``, which stands once."""
    found = re.findall(rf"<!-- {marker} -->\n```\w+\n(.*?)```", "".join(DOCS.values()), re.DOTALL)
    assert len(found) == 1, f"README and docs have {len(found)} fenced blocks {marker!r}"
    return str(found[0])


@pytest.mark.slow
def test_the_suite_runs_as_printed(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(fenced("suite"))
    fast = ("--set", "measure.max_time_s=0.01", "--set", "measure.processes=1", "--set", "device=cpu")
    cli("run", "suite.yaml", "--output", "out", *fast, check=0)
    frame = attnbench.load(tmp_path / "out")
    assert set(frame["status"]) == {"ok"}
    assert len(frame) == (2 * 2 * 2 - 2 + 1) * 3


@pytest.mark.slow
def test_the_backend_runs_and_passes_its_check_as_printed(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "my_kernels.py").write_text(fenced("backend"))
    assert sum(bool(line.strip()) for line in fenced("backend").splitlines()) <= 15
    command = fenced("run backend").split()
    assert command[0] == "attnbench"
    fast = ("--set", "measure.max_time_s=0.01", "--set", "measure.processes=1", "--set", "device=cpu")
    cli(*command[1:], *fast, "--output", "out", check=0)
    frame = attnbench.load(tmp_path / "out")
    mine = frame[frame["backend"] == "my_kernels:Mine"]
    assert set(mine["status"]) == {"ok", "unsupported"}
    namespace: dict[str, object] = {}
    sys.path.insert(0, str(tmp_path))
    try:
        exec(fenced("check backend").replace("check_backend(Mine)", "checked = check_backend(Mine)"), namespace)
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("my_kernels", None)
    assert namespace["checked"]


def test_the_red_build_is_what_compare_prints_of_the_reference(cli: Cli) -> None:
    stored = TESTS.parent / "results" / "reference" / "amd-epyc-2-cores" / "ab-refactored"
    assert cli("compare", str(stored), check=1, COLUMNS="100").stdout.strip() == fenced("red").strip()


def test_the_tables_name_every_column_suite_and_backend() -> None:
    columns = DOCS["results"]
    fields = {"suite", "case", "backend", "device", "height", "width", "window_height", "window_width", "flags"}
    for name in set(COLUMNS) - fields - set(PROBLEM):
        assert f"`{name}`" in columns, name
    suites = DOCS["suites"]
    for name in built_in_suites():
        description = load_suite(name, known_backends=registry.names()).description
        assert f"| `{name}` | {description} |" in suites
    quick = load_suite("quick", known_backends=registry.names())
    assert set(quick.backends) == set(registry.names())


def test_links_lead_somewhere() -> None:
    for path in PAGES:
        for link in re.findall(r"\]\(([^)#][^)]*)\)", DOCS[path.stem]):
            assert "://" in link or (path.parent / link.partition("#")[0]).exists(), (path.name, link)


def test_the_figures_of_false_alarms_name_every_rule() -> None:
    from tests.benchmarks.false_alarms import PEERS

    shown = fenced("false alarms")
    for name in PEERS:
        assert re.search(rf"^{re.escape(name)} +\d+ of 300", shown, re.MULTILINE), name


def test_the_changelog_names_every_backend() -> None:
    changelog = (TESTS.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    for name in registry.names():
        assert f"`{name}`" in changelog
