"""A directory of runs as a site: what is written, what is left alone, what is left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from attnbench.core.errors import LostOutputError, OutputError, StoredRunError
from attnbench.core.record import Record, Status
from attnbench.report.page import shell
from attnbench.report.site import files as site_files
from attnbench.report.site import publishing
from attnbench.report.site.cards import sparklines
from attnbench.report.site.publishing import publish
from attnbench.results.accepted import Accepted, AcceptedChanges
from attnbench.results.store import write_tables
from tests.analysis.tables import cell, placed
from tests.report.samples import HOSTILE
from tests.report.test_page import Page
from tests.samples import environment, failed


@pytest.fixture(autouse=True)
def _without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "javascript", lambda: "window.vegaEmbed = null;")
    shell.asset_files.cache_clear()
    publishing._made_by.cache_clear()


def write_run(directory: Path, records: Sequence[Record], suite: str = "quick", **facts: Any) -> Path:
    """A run directory as ``attnbench run`` leaves it."""
    directory.mkdir(parents=True)
    lines = [json.dumps(record.to_json()) + "\n" for record in placed(records)]
    (directory / "journal.jsonl").write_text("".join(lines))
    (directory / "suite.yaml").write_text(json.dumps({"name": suite, "backends": ["naive", "sdpa"]}))
    (directory / "environment.json").write_text(json.dumps(replace(environment(), **facts).to_json()))
    if records:
        write_tables(directory)
    return directory


def two_backends(factor: float = 1.0) -> list[Record]:
    return [*cell("naive", [2.0, 2.01, 2.02]), *cell("sdpa", [factor, 1.01 * factor, 1.02 * factor])]


def write_runs(directory: Path, count: int, *, machines: Sequence[str] = ("epyc", "m2", "xeon")) -> list[Path]:
    """Runs of one suite, an hour apart, on machines in turn; their last third is slower."""
    found = []
    for number in range(count):
        machine = machines[number % len(machines)]
        started = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number)
        records = two_backends(1.5 if number >= 2 * count / 3 else 1.0 + number / 1000)
        place = directory / "quick" / machine / f"{number:03}"
        found.append(write_run(place, records, machine=machine, device_name=machine, started_at=started.isoformat()))
    return found


def contents(site: Path) -> dict[str, tuple[int, bytes]]:
    """By name, when a file was written, and what it holds."""
    return {
        file.relative_to(site).as_posix(): (file.stat().st_mtime_ns, file.read_bytes())
        for file in site.rglob("*")
        if file.is_file()
    }


def test_a_site_has_an_index_a_page_for_every_run_and_histories(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs", 9)
    done = publish(tmp_path / "runs", tmp_path / "site")
    assert (done.runs, done.read, done.left_out) == (9, 9, ())
    index = Page((tmp_path / "site" / "index.html").read_text())
    addresses = [str(found["href"]) for tag, found in index.elements if tag == "a" and found["href"] != "#main"]
    assert sum(address.startswith("runs/") for address in addresses) == 9
    assert sum(address.startswith("suites/") for address in addresses) == 3
    assert sum(address.startswith("machines/") for address in addresses) == 1
    for address in addresses:
        page = Page((tmp_path / "site" / address).read_text())
        for tag, found in page.elements:
            if link := found.get("src") or (found.get("href") if tag in ("a", "link") else None):
                target = (tmp_path / "site" / address).parent / link.partition("#")[0]
                assert link.startswith("#") or target.is_file(), link


def test_a_history_draws_every_run_and_links_to_their_pages(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs", 9, machines=["epyc"])
    publish(tmp_path / "runs", tmp_path / "site")
    (file,) = (tmp_path / "site" / "suites").glob("*.html")
    page = Page(file.read_text())
    (chapter,) = page.data["chapters"]
    (chart,) = chapter["figures"]["history"][0]["charts"]
    assert chart["count"] == 9 * 2
    assert "first after a change" in json.dumps(chart["points"])
    links = {str(found.get("href")) for tag, found in page.elements if tag == "a"}
    assert sum(link.startswith("../runs/") for link in links) == 9
    assert "Earlier runs on this page: 8" in page.text


def test_accepted_changes_are_marked_in_histories(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs", 9, machines=["epyc"])
    change = Accepted(case="stage 1", backend="sdpa", since="2026-01-01T06:00:00+00:00", why="safer")
    publish(tmp_path / "runs", tmp_path / "site", AcceptedChanges(changes=(change,)))
    (file,) = (tmp_path / "site" / "suites").glob("*.html")
    assert "accepted: safer" in file.read_text()


def test_what_changed_comes_first_and_says_how_much(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs", 9, machines=["epyc"])
    steady = [("zen", number) for number in range(7)]
    for machine, number in steady:
        started = f"2026-02-01T{number:02}:00:00+00:00"
        write_run(tmp_path / "runs" / machine / str(number), two_backends(1 + number / 1000), device_name=machine,
                  started_at=started)  # fmt: skip
    publish(tmp_path / "runs", tmp_path / "site")
    page = Page((tmp_path / "site" / "index.html").read_text())
    changed = [found["data-changed"] for tag, found in page.elements if tag == "section" and "data-changed" in found]
    assert changed == ["yes", "no"]
    assert "1 cell suspect" in page.text or "1 cell regressed" in page.text


def test_nothing_is_read_or_written_again_where_nothing_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_runs(tmp_path / "runs", 6)
    publish(tmp_path / "runs", tmp_path / "site")
    before = contents(tmp_path / "site")
    monkeypatch.setattr("attnbench.report.site.pages.read_run", None)
    assert publish(tmp_path / "runs", tmp_path / "site").read == 0
    after = contents(tmp_path / "site")
    assert {name: one for name, one in after.items() if one != before[name]}.keys() <= {site_files.MARKER}


def test_one_more_run_is_read_alone_and_changes_its_own_suite_alone(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs", 6)
    publish(tmp_path / "runs", tmp_path / "site")
    before = contents(tmp_path / "site")
    write_run(tmp_path / "runs" / "new", two_backends(), device_name="epyc", started_at="2026-03-01T00:00:00+00:00")
    done = publish(tmp_path / "runs", tmp_path / "site")
    assert (done.runs, done.read) == (7, 7 - 6)
    after = contents(tmp_path / "site")
    changed = {name for name, one in after.items() if before.get(name) != one} - {site_files.MARKER}
    assert "index.html" in changed
    assert len([name for name in changed if name.startswith("runs/")]) == 2
    assert all("epyc" in name for name in changed if name.startswith("suites/"))


def test_a_run_that_went_on_is_read_again(tmp_path: Path) -> None:
    (place,) = write_runs(tmp_path / "runs", 1)
    publish(tmp_path / "runs", tmp_path / "site")
    with (place / "journal.jsonl").open("a") as journal:
        journal.write(json.dumps(replace(cell("naive", [2.0], "stage 2")[0], position=2).to_json()) + "\n")
    assert publish(tmp_path / "runs", tmp_path / "site").read == 1
    (page,) = (tmp_path / "site" / "runs").glob("*.html")
    assert "stage 2" in page.read_text()


def test_pages_of_runs_that_are_gone_go(tmp_path: Path) -> None:
    places = write_runs(tmp_path / "runs", 3)
    publish(tmp_path / "runs", tmp_path / "site")
    (tmp_path / "site" / "CNAME").write_text("example.org\n")
    places[0].rename(tmp_path / "elsewhere")
    assert publish(tmp_path / "runs", tmp_path / "site").runs == 2
    assert len(list((tmp_path / "site" / "runs").glob("*.html"))) == 2
    assert len(list((tmp_path / "site" / "suites").glob("*.html"))) == 2
    assert (tmp_path / "site" / "CNAME").exists()  # what is not the site's own stays


def test_runs_that_cannot_be_read_are_listed_with_their_reason(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs", 3)
    damaged = tmp_path / "runs" / "damaged"
    damaged.mkdir()
    (damaged / "journal.jsonl").write_text("nonsense\n")
    for _ in range(2):  # the second time from what was kept
        done = publish(tmp_path / "runs", tmp_path / "site")
        assert done.runs == 3
        assert [place for place, _ in done.left_out] == ["damaged"]
        text = Page((tmp_path / "site" / "index.html").read_text()).text
        assert "Left out damaged : " in text
        assert "not a record" in text


def test_a_copy_of_a_run_is_left_out_and_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / "runs" / name, two_backends())
    done = publish(tmp_path / "runs", tmp_path / "site")
    assert (done.runs, done.left_out) == (1, (("b", "it is a copy of a"),))


@pytest.mark.parametrize(
    "records", [[], [failed("naive", Status.OOM, "too much")], cell("naive", [1.0]), cell("naive", [1.0, 1.1])]
)
def test_small_and_broken_runs_stand_on_a_site(tmp_path: Path, records: list[Record]) -> None:
    write_run(tmp_path / "runs" / "a", records)
    write_run(tmp_path / "runs" / "b", two_backends(), started_at="2025-01-01T00:00:00+00:00")
    assert publish(tmp_path / "runs", tmp_path / "site").runs == 2


def test_a_single_run_can_be_published(tmp_path: Path) -> None:
    place = write_run(tmp_path / "run", two_backends())
    assert publish(place, tmp_path / "site").runs == 1


def test_where_no_run_can_be_read_there_is_no_index(tmp_path: Path) -> None:
    (tmp_path / "runs" / "damaged").mkdir(parents=True)
    with pytest.raises(StoredRunError, match="holds no run"):
        publish(tmp_path / "runs", tmp_path / "site")
    assert not (tmp_path / "site").exists()
    (tmp_path / "runs" / "damaged" / "journal.jsonl").write_text("nonsense\n")
    with pytest.raises(StoredRunError, match="not a record"):
        publish(tmp_path / "runs", tmp_path / "site")
    assert not (tmp_path / "site" / "index.html").exists()


def test_a_directory_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs", 1)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    with pytest.raises(OutputError, match=r"holds index\.html, which no publish wrote"):
        publish(tmp_path / "runs", tmp_path / "site")
    assert (tmp_path / "site" / "index.html").read_text() == "mine"
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        publish(tmp_path / "runs", tmp_path / "file")


def test_a_publication_that_fails_leaves_the_index_and_every_page_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = write_runs(tmp_path / "runs", 3)
    publish(tmp_path / "runs", tmp_path / "site")
    before = contents(tmp_path / "site")
    places[0].rename(tmp_path / "elsewhere")
    write_run(tmp_path / "runs" / "new", two_backends(), started_at="2026-03-01T00:00:00+00:00")

    def full(file: Path, text: str) -> None:
        if file.name == "index.html":
            raise LostOutputError("no space left")
        write(file, text)

    write: Callable[[Path, str], None] = site_files.write_whole
    monkeypatch.setattr(site_files, "write_whole", full)
    with pytest.raises(LostOutputError):
        publish(tmp_path / "runs", tmp_path / "site")
    after = contents(tmp_path / "site")
    assert after["index.html"] == before["index.html"]
    assert before.keys() <= after.keys()


VISIBLE = HOSTILE.replace("\u202e", "")
"""What a stored record may hold: of characters that nobody sees, none is read."""


def test_names_never_become_html_on_a_site(tmp_path: Path) -> None:
    records = [*cell(VISIBLE, [1.0, 1.01], VISIBLE), *cell("naive", [2.0, 2.01], VISIBLE)]
    for number in range(2):
        write_run(tmp_path / "runs" / f"<b>{number}", records, VISIBLE, device_name=VISIBLE, commit=VISIBLE,
                  started_at=f"2026-01-0{number + 1}T00:00:00+00:00")  # fmt: skip
    publish(tmp_path / "runs", tmp_path / "site")
    for file in (tmp_path / "site").rglob("*.html"):
        raw = file.read_text()
        page = Page(raw)
        assert {tag for tag, _ in page.elements}.isdisjoint({"img", "b", "iframe"})
        assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
        assert "\u202e" not in raw


def test_many_runs_are_read_in_several_processes_and_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_runs(tmp_path / "runs", 5)
    publish(tmp_path / "runs", tmp_path / "one")
    monkeypatch.undo()  # other processes have the real library
    monkeypatch.setattr(publishing, "_FEW", 2)
    shell.asset_files.cache_clear()
    publishing._made_by.cache_clear()
    publish(tmp_path / "runs", tmp_path / "several")
    one, several = (
        {name.partition("-")[0] if name.startswith("assets") else name for name in contents(tmp_path / site)}
        for site in ("one", "several")
    )
    assert one == several


def test_a_sparkline_compares_the_cases_that_runs_share() -> None:
    from attnbench.report.charts.runs import Moment

    def moment(**latencies: float) -> Moment:
        cells = {case: {"sdpa": (latency,)} for case, latency in latencies.items()}
        return Moment(started_at="", torch="", commit="", latencies=cells)

    (line,) = sparklines([moment(a=1.0, gone=50.0), moment(a=1.0), moment(a=2.0, new=8.0)])
    assert line.ratio == pytest.approx(2.0)
    assert line.now == "4.00"
    assert line.moved
    assert line.path.count("L") == 2
    (long,) = sparklines([moment(a=1.0 + number) for number in range(500)])
    assert long.path.count("L") == 69
