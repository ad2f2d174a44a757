"""The same thousand nasty strings through every output, each read back by a program of its readers."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import shlex
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import cmarkgfm
import pandas as pd
import pytest
from cmarkgfm.cmark import Options
from junitparser import JUnitXml
from markdown_it import MarkdownIt
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from attnbench.comparison.definitions import Verdict
from attnbench.core.escaping import (
    encodable,
    from_spreadsheet,
    label,
    legal,
    markdown,
    markdown_block,
    one_line,
    spreadsheet,
)
from attnbench.core.record import Status
from attnbench.exports import documents, github, junit, openmetrics, trackers
from attnbench.exports.results import ComparisonResults, RunResults
from attnbench.report import terminal
from attnbench.report.comparison_table import comparison_table
from attnbench.report.layout import Sheet
from attnbench.report.page.content import chapters
from attnbench.report.page.writing import write_page
from attnbench.results.spreadsheet import csv_text, read_csv
from attnbench.results.table import typed
from tests.exports.samples import cell, comparison_of, run_of
from tests.nasty import nasty_strings
from tests.samples import failed, record

NASTY = nasty_strings(1000)
TABLED = [encodable(text) for text in NASTY]
"""A table cannot hold half a character, and what is read never has one."""
RUN = run_of(
    [
        *(record(text, text, position=place) for place, text in enumerate(TABLED)),
        *(failed("b", Status.ERROR, text or "-", text, position=1000 + place) for place, text in enumerate(TABLED)),
    ]
)
COMPARISON = comparison_of(
    [cell(Verdict.BROKEN, text, text, reason=f"{text} (my_kernels.py:41)") for text in NASTY], notes=tuple(NASTY)
)
OF_RUN, OF_COMPARISON = RunResults(run=RUN), ComparisonResults(run=RUN, comparison=COMPARISON)
COLORS = re.compile(r"\x1b\[[0-9;]*m")
OBEYED = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What a terminal obeys, but for the end of a line."""
CALCULATED = re.compile(r"\s*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
LINKED = re.compile(r"(?<![\w])@\w|#\d|(?<!\w)!\d|https?://|(?<!\w)www\.\S|:[\w+-]+:|\$\S|~[^\W\d]|(?<!\w)GH-\d")
"""What GitHub and GitLab look for in the texts of a page, once Markdown was read."""


@pytest.mark.parametrize("width", [40, 100])
def test_a_terminal_obeys_nothing_and_loses_nothing(width: int) -> None:
    for sheet in (comparison_table(COMPARISON), Sheet(heading="", grids=(), notes=tuple(NASTY))):
        shown = COLORS.sub("", terminal.render(sheet, width=width, color=True))
        assert not OBEYED.search(shown)
    # The words of a note follow one another.
    squeezed = "".join(shown.split())
    assert not [text for text in NASTY if "".join(one_line(text).split()) not in squeezed]


def rendered(text: str, *, renderer: str) -> str:
    if renderer == "cmark-gfm":
        return str(cmarkgfm.github_flavored_markdown_to_html(text, options=Options.CMARK_OPT_UNSAFE))
    parser = MarkdownIt("gfm-like")
    assert parser.linkify is not None
    parser.linkify.set({"fuzzy_link": False, "fuzzy_email": False})  # GitHub links no bare names
    parser.linkify.add("//", None)
    return str(parser.render(text))


class Html(HTMLParser):
    """The elements of a page, its texts as they stand between them, and the cells of its tables."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[str] = set()
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_comment(self, data: str) -> None:
        self.texts.append("")
        assert data == " "

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


@pytest.mark.parametrize("renderer", ["cmark-gfm", "markdown-it"])
def test_markdown_shows_every_text_as_it_is_and_links_nothing(renderer: str) -> None:
    page = Html(rendered(documents.markdown_text(OF_COMPARISON), renderer=renderer))
    assert page.elements <= {"p", "strong", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "h4", "span"}
    shown = {row[1].rstrip("\n") for row in page.rows}
    assert not [text for text in NASTY if one_line(text).strip() not in shown]
    assert not [text for text in page.texts if LINKED.search(text)]


@pytest.mark.parametrize("renderer", ["cmark-gfm", "markdown-it"])
def test_text_at_the_start_of_a_line_of_markdown_begins_nothing(renderer: str) -> None:
    for text in NASTY:
        page = Html(rendered(f"{markdown_block(text)}\n\n**{markdown(text) or 'x'}**\n", renderer=renderer))
        assert page.elements <= {"p", "strong", "span"}, text
        assert "".join(page.texts).strip().startswith(one_line(text).strip())


def test_html_has_the_elements_of_a_page_with_harmless_names() -> None:
    some = range(60)
    harmless, hostile = (
        run_of(
            [
                *(record(backend, case_of(place), position=place) for place in some for backend in ("naive",)),
                *(failed("b", Status.ERROR, case_of(place), case_of(place), position=60 + place) for place in some),
            ]
        )
        for backend, case_of in (("naive", "case {}".format), ("naive", lambda place: TABLED[8 * place]))
    )
    pages = [Html(write_page(chapters([run]))) for run in (harmless, hostile)]
    assert pages[0].elements == pages[1].elements


def test_xml_holds_every_text_in_its_place() -> None:
    for results, texts in ((OF_RUN, TABLED), (OF_COMPARISON, NASTY)):
        text = junit.render(results)
        root = ET.fromstring(text)
        named = {element.attrib["name"] for element in root.iter("testcase")}
        assert {legal(one) for one in texts} <= named
        assert len(list(JUnitXml.fromstring(text.encode()))) >= 1
        assert len(list(root.iter("testcase"))) == (2000 if results is OF_RUN else 1000)


@pytest.mark.parametrize("name", ["run", "comparison"])
def test_no_cell_of_csv_is_calculated_and_our_own_reader_undoes_that(name: str, tmp_path: Path) -> None:
    text = documents.csv_text(OF_RUN if name == "run" else OF_COMPARISON)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == (2000 if name == "run" else 1000)
    assert not [row for row in rows for field in ("case", "backend", "reason") if CALCULATED.match(row[field])]
    assert {row["case"] for row in rows} == {spreadsheet(one) for one in (TABLED if name == "run" else NASTY)}
    if name == "run":
        file = tmp_path / "table.csv"
        file.write_text(text)
        read = typed(read_csv(file))
        shown = {name: RUN.table[name].map(one_line) for name in ("case", "backend", "reason")}
        pd.testing.assert_frame_equal(read, RUN.table.assign(**shown), check_dtype=False)
        assert csv_text(read) == text


def test_an_apostrophe_before_a_formula_can_always_be_undone() -> None:
    for text in NASTY:
        for apostrophes in ("", "'", "''"):
            assert from_spreadsheet(spreadsheet(apostrophes + text)) == one_line(apostrophes + text)


def test_a_line_of_a_github_log_is_one_annotation_with_its_place() -> None:
    from tests.exports.test_github import read

    for text in NASTY:
        (line,) = github.workflow_commands(
            ComparisonResults(run=RUN, comparison=comparison_of([cell(Verdict.BROKEN, text[:90], reason="(k.py:7)")]))
        )
        found = read(line)
        shown = "".join(one if one in "\r\n" else one_line(one) for one in legal(text[:90]))
        assert found.kind == "error"
        assert found.properties == {
            "file": "k.py", "line": "7", "title": f"attnbench: broken: {shown}, sdpa",
        }  # fmt: skip
        assert found.message == f"{shown}, sdpa: (k.py:7)"


def test_every_output_of_a_github_step_is_one_line() -> None:
    for text in NASTY[:200]:
        lines = github.outputs(ComparisonResults(run=RUN, comparison=comparison_of([], suite=text))).splitlines()
        assert all(re.match(r"[a-z_]+=", line) for line in lines)
        assert [line for line in lines if line.startswith("failed=")] == ["failed=false"]


def gitlab_lines(text: str) -> Iterator[list[str]]:
    """A metrics report as GitLab reads it: comments are cut off wherever they begin, and words are those of a shell."""
    for line in text.split("\n"):
        before = line.partition("#")[0].strip()
        if before:
            yield shlex.split(before)


def test_openmetrics_has_every_label_as_it_is_for_both_parsers() -> None:
    for results in (OF_RUN, OF_COMPARISON):
        text, texts = openmetrics.render(results), TABLED if results is OF_RUN else [*TABLED, *NASTY]
        families = list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
        named = {sample.labels["case"] for family in families for sample in family.samples}
        assert not [one for one in texts if label(one) not in named]
        samples = sum(len(family.samples) for family in families)
        assert len([words for words in gitlab_lines(text) if float(words[-1]) >= 0]) == samples


def test_trackers_get_json_with_a_name_of_one_line_per_cell() -> None:
    for text in (
        trackers.action_benchmark_latencies(OF_RUN), trackers.action_benchmark_rates(OF_RUN), trackers.bencher(OF_RUN),
    ):  # fmt: skip
        text.encode()
        found = json.loads(text)
        names = [one["name"] for one in found] if isinstance(found, list) else list(found)
        assert len(set(names)) == 1000
        assert not [name for name in names if OBEYED.search(name) or "\n" in name]


def test_json_documents_are_utf8_and_hold_every_text() -> None:
    for results in (OF_RUN, OF_COMPARISON):
        text = documents.json_text(results)
        found = json.loads(text)
        json.dumps(found, ensure_ascii=False).encode()
        named = {one["case"] for one in found["cells"]}
        assert len(named) >= 990
        assert html.escape("<b>") not in text
