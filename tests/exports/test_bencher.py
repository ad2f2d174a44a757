"""Bencher Metric Format: of the form that its documentation gives."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from attnbench.core.record import Status
from attnbench.exports import trackers
from attnbench.exports.results import Results, RunResults
from tests.exports.samples import BROKEN_LINE, EVERY_RESULTS, NASTY, run_of
from tests.samples import failed, record

SCHEMA = {
    "type": "object",
    "propertyNames": {"minLength": 1},
    "additionalProperties": {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "maxLength": 64},
        "additionalProperties": {
            "type": "object",
            "properties": {key: {"type": "number"} for key in ("value", "lower_value", "upper_value")},
            "required": ["value"],
            "additionalProperties": False,
            "dependentRequired": {"lower_value": ["upper_value"], "upper_value": ["lower_value"]},
        },
    },
}
LONGEST_NAME_BYTES = 1024


def read(results: Results) -> dict[str, Any]:
    document = json.loads(trackers.bencher(results))
    jsonschema.validate(document, SCHEMA)
    assert all(len(name.encode()) <= LONGEST_NAME_BYTES for name in document)
    return dict(document)


@pytest.mark.parametrize("name", EVERY_RESULTS)
def test_the_document_is_of_the_documented_form(name: str) -> None:
    assert read(EVERY_RESULTS[name])


def test_latency_is_nanoseconds_throughput_images_per_second_and_memory_bytes() -> None:
    (measures,) = read(RunResults(run=run_of([record(latency_ms=2.0)]))).values()
    assert measures["latency"]["value"] == pytest.approx(2e6, rel=0.01)
    assert measures["images-per-second"]["value"] == pytest.approx(1000, rel=0.01)
    assert measures["peak-memory-bytes"] == {"value": 3 * 2**20}
    assert "lower_value" not in measures["latency"]


def test_bounds_hold_the_value_and_those_of_the_rate_are_those_of_the_latency_turned_round() -> None:
    records = [record(latency_ms=latency, round=process) for process, latency in enumerate((2.0, 2.1))]
    (measures,) = read(RunResults(run=run_of(records))).values()
    latency, rate = measures["latency"], measures["images-per-second"]
    for metric in (latency, rate):
        assert metric["lower_value"] < metric["value"] < metric["upper_value"]
    images_times_ns = latency["value"] * rate["value"]
    assert latency["lower_value"] * rate["upper_value"] == pytest.approx(images_times_ns)
    assert latency["upper_value"] * rate["lower_value"] == pytest.approx(images_times_ns)


def test_bounds_without_an_end_are_left_out() -> None:
    run = run_of([record(latency_ms=2.0, round=0), record(latency_ms=2.1, round=1)])
    run.table["latency_high_ms"] = float("inf")
    (measures,) = read(RunResults(run=run)).values()
    assert list(measures["latency"]) == ["value"]


def test_failed_cells_are_left_out_and_what_is_not_known_of_others_too() -> None:
    run = run_of([record(peak_bytes=None), failed("b", Status.OOM, "too much")])
    assert {name: list(measures) for name, measures in read(RunResults(run=run)).items()} == {
        "sample/stage 1/naive": ["latency", "images-per-second"]
    }


def test_unusual_names_survive_on_one_line() -> None:
    assert list(read(RunResults(run=run_of([record(NASTY, BROKEN_LINE)])))) == [
        f"sample/{NASTY}\\nsecond line/{NASTY}",
    ]


def test_names_too_long_for_the_server_are_cut_and_still_told_apart() -> None:
    names = ["é" * 600 + end for end in "ab"]
    document = read(RunResults(run=run_of([record(case=name, position=place) for place, name in enumerate(names)])))
    assert len(document) == 2
    assert all(name.startswith("sample/" + "é" * 500) for name in document)


def test_a_name_that_comes_again_is_told_apart() -> None:
    run = run_of([record(latency_ms=1.0), record("sdpa", latency_ms=2.0, position=1)])
    run.table["backend"] = "naive"
    document = read(RunResults(run=run))
    assert list(document) == ["sample/stage 1/naive", "sample/stage 1 [2]/naive"]
