"""The page: what it says, that nothing from data becomes HTML, and that it loads nothing from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import vl_convert

from attnbench.analysis.ranking import contests
from attnbench.backends import registry
from attnbench.core.problem import Pattern
from attnbench.core.record import Status
from attnbench.core.shipped_backends import SHIPPED
from attnbench.report.charts.chart import Palette
from attnbench.report.charts.rows import chart_rows
from attnbench.report.charts.runs import Moment, history
from attnbench.report.page import bundle, shell, writing
from attnbench.report.page.content import Chapter, chapters
from attnbench.report.page.embedding import columns, plain, script_json, visible
from attnbench.report.page.rerun import rerun
from attnbench.report.plots import figure
from attnbench.results.accepted import Accepted
from attnbench.results.store import StoredRun
from attnbench.suite.expansion import load_suite
from tests.analysis.tables import cell, stored
from tests.report.samples import HOSTILE, days, hostile_run, swept
from tests.samples import failed


class Page(HTMLParser):
    """A page's elements, its texts, and its data."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.data: dict[str, Any] = {}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = "data" if tag == "script" and ("type", "application/json") in attrs else tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "data":
            self.data = json.loads(data)
        elif self._inside not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


@pytest.fixture(autouse=True)
def _without_the_library(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "real_library" not in request.keywords:
        monkeypatch.setattr(shell, "javascript", lambda: "window.vegaEmbed = null;")


def page_of(*runs: StoredRun, accepted: tuple[Accepted, ...] = ()) -> Page:
    return Page(writing.write_page(chapters(runs, accepted)))


def charts_of(chapter: Chapter) -> dict[str, list[Any]]:
    return {one.ident: [chart for group in one.groups.values() for chart in group] for one in chapter.figures}


def test_the_answer_stands_first_and_says_how_sure_it_is() -> None:
    page = page_of(swept())
    text = page.text
    assert text.index("Use sdpa") < text.index("Case by case") < text.index("Latency")
    assert "take sdpa: it takes 1.00x the time of the fastest in the geometric mean" in text
    assert "is within 10 % of it in 100 % of the cases" in text
    assert "A sure winner: sdpa in 6 of 6 cases. There, the 95 % interval" in text
    assert "Unavailable here:" in text
    assert ": no kernels for cpu" in text


def test_a_tie_is_called_a_tie() -> None:
    text = page_of(stored(cell("a", (1.0, 1.2, 1.1)), cell("b", (1.1, 1.1, 1.15), position=1))).text
    assert re.search(r"tie with b 1\.0x \(0\.8 to 1\.3\)", text), "by how much, and how sure that is"
    assert "1 tie: the 95 % interval of another backend's latency over that of the fastest contains 1." in text
    assert "b cannot be told from it anywhere" in text


def test_a_backend_looks_the_same_on_every_page() -> None:
    swin_alone = Palette(backends=("mine", "swin", "other"))
    everybody = Palette(backends=(*SHIPPED, "mine", "other"))
    assert swin_alone.places == tuple(everybody.places[everybody.backends.index(name)] for name in swin_alone.backends)
    assert len(set(everybody.places)) == len(everybody.backends)


def test_a_case_with_a_name_of_its_own_tells_its_problem_and_what_was_flagged() -> None:
    named = chapters([stored(cell("a", (1.0, 1.01)), cell("b", (2.0, 2.02), position=1))])[0]
    (line,) = named.answer.cases
    told = dict(zip(named.answer.case_headers, line.texts, strict=True))
    assert told["problem"] == "b2 14x14 w7 h2 float32"
    assert told["flags"] == "-"
    label = "b2 14x14 w7 h2 float32"
    (unnamed,) = chapters([stored(cell("a", (1.0, 1.01), label), cell("b", (2.0, 2.02), label, position=1))])
    assert "problem" not in unnamed.answer.case_headers


def test_what_could_not_be_measured_is_no_zero() -> None:
    chapter = chapters([swept()])[0]
    (line,) = [line for line in chapter.answer.backends if line.texts[0] == "flash_attn"]
    assert line.texts[1:] == ("-", "-", "-", "-", "-", "0 of 1", "-")


def test_who_computed_a_function_alone_is_not_said_to_be_so_many_times_as_slow_as_itself() -> None:
    run = stored(cell("a", (1.0, 1.2, 1.1)), cell("b", (1.1, 1.1, 1.15), position=1, pattern=Pattern.SHIFTED))
    rows = run.table.to_dict("records")
    told = chart_rows(rows, contests(rows))
    assert [row["times_best"] for row in told] == [None, None]
    assert [row["place"] for row in told] == [None, None]


def test_exponents_stand_beside_the_predicted_ones() -> None:
    text = page_of(swept()).text
    assert re.search(r"resolution: dtype float32 sdpa 1\.00 \(1\.00 to 1\.00\) 1, inside 14x14 to 56x56, 3", text)


def test_every_section_of_a_sweep_has_charts() -> None:
    (chapter,) = chapters([swept()])
    drawn = charts_of(chapter)
    assert set(drawn) == {"latency", "exponents", "winners", "profile", "roofline", "throughput", "memory"}
    assert all(drawn.values())


def test_a_latency_chart_draws_every_measured_cell_and_the_predicted_growth() -> None:
    (chapter,) = chapters([swept()])
    chart = charts_of(chapter)["latency"][0]
    rows = [chapter.rows[number] for number in chart.rows]
    assert sorted((row["backend"], row["resolution"]) for row in rows) == sorted(
        (backend, f"{side}x{side}") for backend in ("naive", "sdpa") for side in (14, 28, 56)
    )
    first, *_, last = chart.points
    assert last["predicted_ms"] == min(row["latency_ms"] for row in rows if row["resolution"] == "56x56")
    assert last["predicted_ms"] / first["predicted_ms"] == pytest.approx(16.0)


def test_a_roofline_draws_the_ceilings_of_the_run() -> None:
    (chapter,) = chapters([swept()])
    chart = charts_of(chapter)["roofline"][0]
    assert chart.points[1] == {
        "intensity": pytest.approx(5.0), "gflops": pytest.approx(100.0), "roof": "copy through memory 20 GB/s",
    }  # fmt: skip
    assert len(chart.rows) == 6


def test_cells_whose_place_under_the_roof_is_not_known_are_left_out() -> None:
    run = swept()
    run.table["roofline_fraction"] = run.table["roofline_fraction"].where(run.table["dtype"] == "float32")
    (chapter,) = chapters([run])
    assert [chart.title[:8] for chart in charts_of(chapter)["roofline"]] == ["float32:"]


def test_sizes_above_a_million_and_of_equal_products_have_their_labels() -> None:
    sides = ((1024, 1024), (512, 2048), (2048, 2048))
    cells = [
        cell("sdpa", [1.0, 1.1], f"{h}x{w}", height=h, width=w, position=place) for place, (h, w) in enumerate(sides)
    ]
    (chapter,) = chapters([stored(*cells)])
    text = json.dumps(charts_of(chapter)["latency"][0].spec)
    assert r"{\"1048576\": \"1024x1024, 512x2048\", \"4194304\": \"2048x2048\"}" in text.replace("\\\\", "\\")


def test_problems_measured_at_several_scopes_show_where_the_time_goes() -> None:
    cells = [
        cell("sdpa", [latency, latency], scope, scope=scope, position=place)
        for place, (scope, latency) in enumerate((("windows", 1.0), ("map", 1.5), ("layer", 4.0)))
    ]
    (chapter,) = chapters([stored(*cells)])
    (chart,) = charts_of(chapter)["breakdown"]
    assert [(point["part"], round(point["latency_ms"], 1)) for point in chart.points] == [
        ("attention", 1.0), ("layout around it", 0.5), ("projections", 2.5),
    ]  # fmt: skip


def test_a_winner_map_has_a_place_for_every_case() -> None:
    (chapter,) = chapters([swept()])
    (chart,) = charts_of(chapter)["winners"]
    assert {(place["across"], place["down"]) for place in chart.points} == {
        (f"{side}x{side}", dtype) for side in (14, 28, 56) for dtype in ("float32", "bfloat16")
    }
    assert {place["winner"] for place in chart.points} == {"sdpa"}
    assert {place["lead"] for place in chart.points} == {"next: naive 2.00x"}


def test_every_chart_is_a_specification_that_vega_takes() -> None:
    runs = [*days(7), swept(), swept(device_name="Other")]
    for chapter in chapters(runs):
        for found in charts_of(chapter).values():
            compiled = vl_convert.vegalite_to_vega(figure(found, chapter.rows))
            assert compiled["marks"]


def test_the_rows_of_the_page_are_those_of_the_table() -> None:
    page = page_of(swept())
    (chapter,) = page.data["chapters"]
    run = swept()
    found = run.table.to_dict("records")
    expected = plain(chart_rows(found, contests(found)))
    assert list(unpacked(chapter["rows"], chapter["count"])) == expected
    assert set(page.data["columns"]) <= set(expected[0])


def unpacked(packed: dict[str, Any], count: int) -> Iterator[dict[str, Any]]:
    def value(column: dict[str, Any], number: int) -> Any:
        if "same" in column:
            return column["same"]
        return column["texts"][column["codes"][number]] if "codes" in column else column["values"][number]

    for number in range(count):
        yield {name: value(column, number) for name, column in packed.items()}


def test_names_never_become_html() -> None:
    hostile = page_of(hostile_run())
    assert {tag for tag, _ in hostile.elements}.isdisjoint({"img", "b", "iframe"})
    assert hostile.count("script") == 3
    assert not [name for _, attributes in hostile.elements for name in attributes if name.startswith("on")]
    assert f"Use {visible(HOSTILE)}" in hostile.text
    (chapter,) = hostile.data["chapters"]
    assert visible(HOSTILE) in chapter["backends"]


def test_nothing_in_the_raw_page_turns_text_round_or_ends_a_script() -> None:
    raw = writing.write_page(chapters([hostile_run()]))
    assert "\u202e" not in raw
    assert raw.count("</script>") == 3
    assert "49" not in re.findall(r"Use [^<]*", raw)[0]


def test_specifications_hold_names_as_values_and_never_as_expressions() -> None:
    def expressions(spec: Any, key: str = "") -> Iterator[str]:
        if isinstance(spec, dict):
            for name, value in spec.items():
                yield from expressions(value, name)
        elif isinstance(spec, list):
            for value in spec:
                yield from expressions(value, key)
        elif key in ("labelExpr", "calculate", "filter", "expr", "signal", "test"):
            yield str(spec)

    for chapter in chapters([hostile_run(), *days(7)]):
        for found in charts_of(chapter).values():
            for chart in found:
                assert not [text for text in expressions(chart.spec) if "alert" in text or "naive" in text]


@pytest.mark.real_library
def test_the_page_loads_nothing_and_is_small() -> None:
    raw = writing.write_page(chapters([swept()]))
    page = Page(raw)
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base"), tag
        assert not attributes.get("src"), attributes
        assert (attributes.get("href") or "#").startswith("#"), attributes
    style = raw.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert len(raw) < 4 * 2**20


def test_only_the_scripts_of_the_page_may_run() -> None:
    page = page_of(swept())
    (policy,) = [found["content"] for tag, found in page.elements if tag == "meta" and found.get("http-equiv")]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert policy.count("sha256-") == 2
    assert "script-src 'unsafe-inline'" not in policy
    assert "http" not in policy


@pytest.mark.real_library
def test_the_library_is_made_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = bundle.javascript()
    (kept,) = (tmp_path / "attnbench").iterdir()
    assert kept.read_text(encoding="utf-8") == made
    kept.write_text("kept", encoding="utf-8")
    assert bundle.javascript() == "kept"
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert bundle.javascript() == made


def test_a_history_shows_ratios_worst_first_and_where_it_changed() -> None:
    (chapter,) = chapters(days(12))
    drawn = charts_of(chapter)
    ratios = [point["ratio"] for point in drawn["ratios"][0].points]
    assert ratios == sorted(ratios, reverse=True)
    marked = [(point["backend"], point["time"], point["told"]) for point in drawn["history"][0].points if point["mark"]]
    assert ("sdpa", "2026-01-07T00:00:00", "first after a change") in marked
    assert "naive" not in {backend for backend, *_ in marked}
    assert len(drawn["history"][0].points) == 24
    assert len(chapter.history) == 11


def test_a_change_is_marked_however_long_ago_it_was() -> None:
    slow = [1.5 if 20 <= number < 90 else 1.0 for number in range(160)]
    moments = [
        Moment(started_at=(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)).isoformat(), torch="", commit="",
               latencies={"a": {"sdpa": (latency * (1 + number % 3 / 500),)}})
        for number, latency in enumerate(slow)
    ]  # fmt: skip
    (chart,) = history(moments, None, (), Palette(backends=("sdpa",)))
    assert [number for number, point in enumerate(chart.points) if point["mark"]] == [20, 90]


def test_an_accepted_change_is_marked_with_its_reason() -> None:
    accepted = Accepted(case="stage 1", backend="sdpa", since="2026-01-07T00:00:00+00:00", why="safer")
    (chapter,) = chapters(days(12), [accepted])
    marked = {(point["time"], point["told"]) for point in charts_of(chapter)["history"][0].points if point["mark"]}
    assert ("2026-01-07T00:00:00", "accepted: safer") in marked


def test_runs_of_several_suites_and_machines_have_chapters_of_their_own() -> None:
    other = swept(device_name="Other", fingerprint={"device_name": "Other"}, started_at="2026-01-03")
    other.table["suite"] = "other"
    elsewhere = swept(device_name="Elsewhere", fingerprint={"device_name": "Elsewhere"}, started_at="2026-01-04")
    found = chapters([swept(), other, elsewhere])
    assert len(found) == 3
    assert sorted(len(charts_of(chapter).get("machines", [])) for chapter in found) == [0, 0, 6]
    page = Page(writing.write_page(found))
    assert page.count("article") == 3
    assert page.count("nav") == 1


def test_a_run_given_twice_is_shown_once() -> None:
    (chapter,) = chapters([swept(), swept()])
    assert not chapter.history


@pytest.mark.parametrize(
    ("run", "headline"),
    [
        (stored(), "No backend was measured"),
        (stored([failed("naive", Status.OOM, "too much")]), "No backend was measured"),
        (stored(cell("naive", (1.0, 1.1))), "Only naive was measured"),
        (stored(cell("naive", (1.0,))), "Only naive was measured"),
        (stored(cell("naive", (1.0,)), cell("sdpa", (0.5,), position=1)), "Use sdpa"),
        (stored(cell("naive", (1.0, 1.1)), cell("swin", (1.0, 1.2), pattern="shifted", position=1)),
         "No two backends computed the same function"),
    ],
)  # fmt: skip
def test_small_and_broken_runs_have_a_page(run: StoredRun, headline: str) -> None:
    assert headline in page_of(run).text


def test_one_process_is_told_to_say_nothing_of_certainty() -> None:
    text = page_of(stored(cell("naive", (1.0,)), cell("sdpa", (0.5,), position=1))).text
    assert "How sure this is cannot be told in 1 of 1 case: one process gives no intervals" in text


def test_the_command_of_a_cell_measures_that_cell(tmp_path: Path) -> None:
    run = swept()
    run.suite["backends"] = ["naive", {"name": "sdpa", "label": "sdpa"}]
    run.suite["measure"] = {"processes": 2, "max_time_s": 0.1}
    rows = run.table.to_dict("records")
    command = rerun(run, rows).command("map 28 bfloat16", "sdpa")
    start, _, end = command.partition("\nEND\n")
    assert start.startswith("cat > cell.yaml <<'END'\n")
    assert end == "attnbench run cell.yaml\n"
    file = tmp_path / "cell.yaml"
    file.write_text(start.partition("\n")[2])
    suite = load_suite(str(file), known_backends=registry.names())
    (case,) = suite.cases("cpu")
    assert (case.name, case.problem.resolution, case.problem.dtype) == ("map 28 bfloat16", "28x28", "bfloat16")
    assert len(suite.backends) == 2
    assert suite.measure.processes == 2


def test_the_command_of_a_hostile_cell_stays_in_its_here_document() -> None:
    run = hostile_run()
    rows = run.table.to_dict("records")
    lines = rerun(run, rows).command(rows[0]["case"], HOSTILE).splitlines()
    assert lines.count("END") == 1
    assert lines[-1] == "attnbench run cell.yaml"


def test_data_in_a_script_cannot_end_it() -> None:
    text = script_json({"<a>": "</script>&\u2028", "n": float("nan"), "x": 1 / 3})
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == {"<a>": "</script>&\\u2028", "n": None, "x": 0.3333333}
    with pytest.raises(TypeError, match="no place in a page"):
        plain(object())


def test_columns_come_back_as_rows() -> None:
    rows = [{"a": "x", "b": 1, "c": None}, {"a": "y", "b": 2, "c": None}, {"a": "x", "b": 3, "c": None}]
    assert list(unpacked(columns(rows), 3)) == rows
    assert columns([]) == {}


def test_a_time_that_is_none_leaves_the_axis_to_the_others() -> None:
    from attnbench.report.charts.runs import _dates

    points = [{"time": "::"}, {"time": ""}, {"time": "2026-01-01T00:00:00"}, {"time": "2026-03-01T00:00:00"}]
    assert _dates(points)["format"] == "%d %b"
