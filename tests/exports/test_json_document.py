"""The JSON document and its schema: the one is what the other says, field by field."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import jsonschema
import pandas as pd
import pytest

from attnbench.comparison.definitions import Verdict
from attnbench.core.record import Status
from attnbench.core.stats import Estimate
from attnbench.exports import documents
from attnbench.exports.results import Results, RunResults
from attnbench.exports.schema import json_schema
from attnbench.results.table import COLUMNS
from tests.exports.samples import BROKEN_LINE, EVERY_RESULTS, NASTY, cell, compared, comparison_of, idle_cell, run_of
from tests.samples import failed, record

Schema = dict[str, Any]
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def read(results: Results) -> dict[str, Any]:
    def never(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    found = json.loads(documents.json_text(results), parse_constant=never)
    VALIDATOR.validate(found)
    return dict(found)


def objects(schema: Any) -> Iterator[Schema]:
    """Every part of a schema that describes an object with fields."""
    if isinstance(schema, dict):
        if "required" in schema:
            yield schema
        for part in schema.values():
            yield from objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from objects(part)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Every object in a document whose fields are known, one of every kind."""
    if isinstance(value, dict):
        if not path or path[-1] not in ("packages", "flags", "clocks", "ceilings", "participants"):
            yield path, value
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def at(found: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        found = found[key]
    return found


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_field_is_described_and_required_and_there_are_no_others() -> None:
    found = list(objects(json_schema()))
    assert len(found) >= 8
    for part in found:
        assert part["additionalProperties"] is False
        assert part["required"] == list(part["properties"])
        for name, field in part["properties"].items():
            assert field["description"].endswith("."), name


@pytest.mark.parametrize("name", EVERY_RESULTS)
def test_documents_are_what_the_schema_says(name: str) -> None:
    found = read(EVERY_RESULTS[name])
    assert found["schema_version"] == documents.SCHEMA_VERSION
    assert found["kind"] == ("run" if name == "run" else "comparison")


@pytest.mark.parametrize("name", ["run", "comparison"])
def test_the_schema_misses_no_field_that_is_lacking_and_none_too_many(name: str) -> None:
    found = read(EVERY_RESULTS[name])
    found["cells"] = found["cells"][-1:]
    checked = 0
    for path, fields in places(found):
        for field in fields:
            lacking = copy.deepcopy(found)
            del at(lacking, path)[field]
            assert not VALIDATOR.is_valid(lacking), (path, field)
            checked += 1
        larger = copy.deepcopy(found)
        at(larger, path)["surprise"] = 1
        assert not VALIDATOR.is_valid(larger), path
    assert checked > 40


def test_a_comparison_holds_all_that_is_known_of_it() -> None:
    cells = [cell(Verdict.REGRESSED, p_value=0.001), cell(Verdict.REMOVED, "stage 2"), idle_cell()]
    comparison = comparison_of(cells, notes=("Old.",), fingerprint_mismatch=("cores 2 -> 4",))
    found = read(compared(comparison))
    for name, value in json.loads(json.dumps(asdict(comparison))).items():
        assert found[name] == value
    assert found["counts"] == {verdict: int(verdict in (Verdict.REGRESSED, Verdict.REMOVED)) for verdict in Verdict}
    assert (found["compared"], found["not_measured"], found["failed"]) == (1, 1, True)
    assert found["summary"].startswith("2 cells: 1 regressed, 1 removed; 1 more cell not measured in either")
    assert found["cells"][0]["ratio"] == {"value": 1.25, "low": 1.2, "high": 1.302}


def test_a_run_holds_every_column_of_its_table_and_its_environment() -> None:
    run = EVERY_RESULTS["run"].run
    found = read(RunResults(run=run))
    assert found["environment"] == run.environment
    assert [list(row) for row in found["cells"]] == [list(COLUMNS)] * len(run.table)
    for kept, row in zip(run.table.to_dict("records"), found["cells"], strict=True):
        assert {name: None if pd.isna(value) else value for name, value in kept.items()} == pytest.approx(row)


def test_a_run_kept_without_its_environment_has_null_there() -> None:
    run = run_of([record()])
    run.environment.clear()
    assert read(RunResults(run=run))["environment"] is None


def test_a_failed_cell_with_a_number_is_no_document() -> None:
    found = read(RunResults(run=run_of([failed("b", Status.OOM, "too much")])))
    for name in ("latency_ms", "latency_low_ms", "images_per_s", "peak_bytes", "processes", "max_error"):
        assert found["cells"][0][name] is None
        wrong = copy.deepcopy(found)
        wrong["cells"][0][name] = 0
        assert not VALIDATOR.is_valid(wrong)


def test_an_ok_cell_without_a_latency_is_no_document() -> None:
    found = read(RunResults(run=run_of([record()])))
    found["cells"][0]["latency_ms"] = None
    assert not VALIDATOR.is_valid(found)


def test_an_end_that_there_is_not_is_null() -> None:
    endless = cell(
        Verdict.INCONCLUSIVE, ratio=Estimate(value=1.0, low=0.0, high=float("inf")), min_detectable_ratio=float("inf")
    )
    found = read(compared(comparison_of([endless], min_detectable_ratio=float("nan"))))
    assert found["cells"][0]["ratio"] == {"value": 1.0, "low": 0.0, "high": None}
    assert found["min_detectable_ratio"] is found["cells"][0]["min_detectable_ratio"] is None


def test_unusual_names_survive() -> None:
    (row,) = read(RunResults(run=run_of([record(NASTY, BROKEN_LINE)])))["cells"]
    assert (row["case"], row["backend"]) == (BROKEN_LINE, NASTY)
    (verdict,) = read(compared(comparison_of([cell(Verdict.ADDED, BROKEN_LINE, NASTY)])))["cells"]
    assert (verdict["case"], verdict["backend"]) == (BROKEN_LINE, NASTY)
