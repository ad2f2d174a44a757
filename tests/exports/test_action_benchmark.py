"""The files of github-action-benchmark: of the form that its documentation gives."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from attnbench.comparison.verdict import Verdict
from attnbench.core.record import Status
from attnbench.exports import action_benchmark
from attnbench.exports.results import Subject
from tests.exports.subjects import BROKEN_LINE, EVERY_SUBJECT, NASTY, cell, comparison_of, run_of
from tests.samples import failed, record

SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "unit": {"type": "string", "minLength": 1},
            "value": {"type": "number", "exclusiveMinimum": 0},
            "range": {"type": "string"},
            "extra": {"type": "string"},
        },
        "required": ["name", "unit", "value"],
        "additionalProperties": False,
    },
}


def read(text: str) -> list[dict[str, Any]]:
    entries = json.loads(text)
    jsonschema.validate(entries, SCHEMA)
    assert len({entry["name"] for entry in entries}) == len(entries), "a name is a line of a chart"
    return list(entries)


@pytest.mark.parametrize("name", EVERY_SUBJECT)
def test_both_files_are_of_the_documented_form(name: str) -> None:
    assert read(action_benchmark.latencies(EVERY_SUBJECT[name]))
    rates = read(action_benchmark.rates(EVERY_SUBJECT[name]))
    assert bool(rates) == (EVERY_SUBJECT[name].run is not None)


def test_latencies_are_milliseconds_and_rates_images_per_second() -> None:
    subject = Subject(
        run=run_of([record(latency_ms=latency, round=process) for process, latency in enumerate((2.0, 2.2))])
    )
    (latency,) = read(action_benchmark.latencies(subject))
    (rate,) = read(action_benchmark.rates(subject))
    assert (latency["name"], latency["unit"]) == ("sample/stage 1/naive", "ms")
    assert latency["value"] == pytest.approx((2.0 * 2.2) ** 0.5, rel=0.01)
    assert rate["unit"] == "images/s"
    assert rate["value"] == pytest.approx(2 / latency["value"] * 1000)


def test_a_range_is_one_number_as_theirs_are_and_the_interval_stands_in_the_extra() -> None:
    one, two = (record(latency_ms=latency, round=process) for process, latency in enumerate((2.0, 2.02)))
    (entry,) = read(action_benchmark.latencies(Subject(run=run_of([one, two]))))
    found = re.fullmatch(r"(\+-|±)\s*(\d.+)", entry["range"])
    assert found
    low, high = map(float, entry["extra"].splitlines()[0].removeprefix("95 % interval: ").split(" to "))
    assert low < entry["value"] < high
    assert float(found[2]) == pytest.approx(max(entry["value"] - low, high - entry["value"]), rel=0.01)
    (alone,) = read(action_benchmark.latencies(Subject(run=run_of([one]))))
    assert "range" not in alone
    assert "interval" not in alone["extra"]


def test_failed_cells_are_left_out() -> None:
    run = run_of([record(), failed("b", Status.OOM, "too much")])
    assert [entry["name"] for entry in read(action_benchmark.latencies(Subject(run=run)))] == ["sample/stage 1/naive"]
    assert read(action_benchmark.latencies(Subject(run=run_of([failed("b", Status.OOM, "too much")])))) == []


def test_unusual_names_survive_on_one_line() -> None:
    (entry,) = read(action_benchmark.latencies(Subject(run=run_of([record(NASTY, BROKEN_LINE)]))))
    assert entry["name"] == f"sample/{NASTY}\\nsecond line/{NASTY}"


def test_of_a_comparison_alone_the_candidate_is_shown() -> None:
    cells = [
        cell(Verdict.REGRESSED, "a"),
        cell(Verdict.ADDED, "b"),
        cell(Verdict.REMOVED, "c"),
        cell(Verdict.BROKEN, "d"),
    ]
    entries = read(action_benchmark.latencies(Subject(comparison=comparison_of(cells))))
    assert {entry["name"]: entry["value"] for entry in entries} == {"sample/a/sdpa": 2.5, "sample/b/sdpa": 2.5}
