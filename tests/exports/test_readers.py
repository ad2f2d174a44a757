"""Every artifact is read by the program its users use, where that can be installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from attnbench.core.escaping import spreadsheet
from attnbench.exports import documents, junit, openmetrics
from attnbench.exports.results import RunResults
from attnbench.exports.schema import json_schema as results_schema
from attnbench.results.store import read_run, write_tables
from attnbench.suite.expansion import built_in_suites
from attnbench.suite.schema import json_schema as suite_schema
from tests.exports.samples import EVERY_RESULTS, NASTY, run_of
from tests.exports.test_nasty_text import TABLED
from tests.samples import record

PROMTOOL = shutil.which("promtool", path=f"{Path(sys.executable).parent}:/usr/bin:/usr/local/bin")


def run(*command: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), input=text, capture_output=True, text=True, check=False)


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool, of Debian's package prometheus")
@pytest.mark.parametrize("name", [*EVERY_RESULTS, "nasty"])
def test_promtool_reads_metrics_and_finds_nothing_wrong(name: str) -> None:
    assert PROMTOOL is not None
    nasty = RunResults(run=run_of([record(text, text, position=at) for at, text in enumerate(TABLED[:200])]))
    done = run(PROMTOOL, "check", "metrics", text=openmetrics.render(EVERY_RESULTS.get(name, nasty)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("name", EVERY_RESULTS)
def test_junit2html_shows_every_case(name: str, tmp_path: Path) -> None:
    (tmp_path / "junit.xml").write_text(junit.render(EVERY_RESULTS[name]))
    done = run(sys.executable, "-m", "junit2htmlreport", tmp_path / "junit.xml", tmp_path / "junit.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "junit.html").read_text()
    assert "stage 1" in page
    assert "<b>&amp;" not in page.replace("&lt;b&gt;", "")


def test_check_jsonschema_takes_every_suite_and_refuses_a_wrong_one(tmp_path: Path) -> None:
    schema, wrong = tmp_path / "suite.json", tmp_path / "wrong.yaml"
    schema.write_text(json.dumps(suite_schema()))
    wrong.write_text("name: x\nsweep: {resolution: 14, window: 7, haeds: 2}\n")
    check = (sys.executable, "-m", "check_jsonschema", "--schemafile", schema)
    done = run(*check, *built_in_suites().values())
    assert done.returncode == 0, done.stdout + done.stderr
    assert run(*check, wrong).returncode == 1


def test_check_jsonschema_takes_every_result(tmp_path: Path) -> None:
    schema = tmp_path / "results.json"
    schema.write_text(json.dumps(results_schema()))
    files = []
    for name, results in EVERY_RESULTS.items():
        files.append(tmp_path / f"{name}-document.json")
        files[-1].write_text(documents.json_text(results))
    check = (sys.executable, "-m", "check_jsonschema", "--schemafile", schema)
    done = run(*check, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    files[0].write_text(files[0].read_text().replace('"kind": "run"', '"kind": "walk"'))
    assert run(*check, *files).returncode == 1


def test_duckdb_reads_the_table_of_a_run(stored: Path) -> None:
    write_tables(stored)
    query = "select \"case\", backend, latency_ms from read_parquet(?) where status = 'ok' order by latency_ms desc"
    rows = duckdb.execute(query, [str(stored / "table.parquet")]).fetchall()
    table = read_run(stored).table
    ok = table[table["status"] == "ok"].sort_values("latency_ms", ascending=False)
    assert rows == list(ok[["case", "backend", "latency_ms"]].itertuples(index=False, name=None))


def test_duckdb_and_our_reader_agree_on_csv_with_nasty_names(tmp_path: Path) -> None:
    nasty = run_of([record(text, NASTY, position=at) for at, text in enumerate(TABLED[:200])])
    (tmp_path / "table.csv").write_text(documents.csv_text(RunResults(run=nasty)))
    query = "select count(distinct backend), count(latency_ms) from read_csv(?, header=true, all_varchar=true)"
    names = len({spreadsheet(text) for text in TABLED[:200]} - {""})  # empty text is null to it
    assert duckdb.execute(query, [str(tmp_path / "table.csv")]).fetchall() == [(names, 200)]
