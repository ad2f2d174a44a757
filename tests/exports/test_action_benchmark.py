"""The files of github-action-benchmark: of the form that its documentation gives."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from attnbench.core.record import Status
from attnbench.exports import trackers
from attnbench.exports.results import RunResults
from tests.exports.samples import BROKEN_LINE, EVERY_RESULTS, NASTY, run_of
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


@pytest.mark.parametrize("name", EVERY_RESULTS)
def test_both_files_are_of_the_documented_form(name: str) -> None:
    assert read(trackers.action_benchmark_latencies(EVERY_RESULTS[name]))
    rates = read(trackers.action_benchmark_rates(EVERY_RESULTS[name]))
    assert len(rates) == len(EVERY_RESULTS[name].measured())


def test_latencies_are_milliseconds_and_rates_images_per_second() -> None:
    results = RunResults(
        run=run_of([record(latency_ms=latency, round=process) for process, latency in enumerate((2.0, 2.2))])
    )
    (latency,) = read(trackers.action_benchmark_latencies(results))
    (rate,) = read(trackers.action_benchmark_rates(results))
    assert (latency["name"], latency["unit"]) == ("sample/stage 1/naive", "ms")
    assert latency["value"] == pytest.approx((2.0 * 2.2) ** 0.5, rel=0.01)
    assert rate["unit"] == "images/s"
    assert rate["value"] == pytest.approx(2 / latency["value"] * 1000)


def test_a_range_is_one_number_as_theirs_are_and_the_interval_stands_in_the_extra() -> None:
    one, two = (record(latency_ms=latency, round=process) for process, latency in enumerate((2.0, 2.02)))
    (entry,) = read(trackers.action_benchmark_latencies(RunResults(run=run_of([one, two]))))
    found = re.fullmatch(r"(\+-|±)\s*(\d.+)", entry["range"])
    assert found
    low, high = map(float, entry["extra"].splitlines()[0].removeprefix("95 % interval: ").split(" to "))
    assert low < entry["value"] < high
    assert float(found[2]) == pytest.approx(max(entry["value"] - low, high - entry["value"]), rel=0.01)
    (alone,) = read(trackers.action_benchmark_latencies(RunResults(run=run_of([one]))))
    assert "range" not in alone
    assert "interval" not in alone["extra"]


def test_failed_cells_are_left_out() -> None:
    run = run_of([record(), failed("b", Status.OOM, "too much")])
    assert [entry["name"] for entry in read(trackers.action_benchmark_latencies(RunResults(run=run)))] == [
        "sample/stage 1/naive"
    ]
    assert (
        read(trackers.action_benchmark_latencies(RunResults(run=run_of([failed("b", Status.OOM, "too much")])))) == []
    )


def test_unusual_names_survive_on_one_line() -> None:
    (entry,) = read(trackers.action_benchmark_latencies(RunResults(run=run_of([record(NASTY, BROKEN_LINE)]))))
    assert entry["name"] == f"sample/{NASTY}\\nsecond line/{NASTY}"
