"""What is stored survives it, and status and payload agree."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from attnbench.core.files import read
from attnbench.core.record import SCHEMA_VERSION, Cache, Ceilings, Environment, Measure, Record, Status
from tests.samples import environment, failed, record, sample_records


def stored(one: Record | Environment) -> dict[str, Any]:
    """What a file holds of it, besides the schema's version."""
    data: dict[str, Any] = json.loads(json.dumps(one.to_json()))
    assert data.pop("schema_version") == SCHEMA_VERSION
    return data


@pytest.mark.parametrize("one", sample_records(), ids=lambda one: f"{one.case}-{one.backend}")
def test_records_survive_json(one: Record) -> None:
    assert read(Record, stored(one)) == one


def test_environments_survive_json() -> None:
    data = stored(environment())
    assert data.pop("fingerprint") == environment().fingerprint
    assert read(Environment, data) == environment()


def test_the_fingerprint_tells_machines_apart_and_not_versions() -> None:
    assert "torch" not in environment().fingerprint
    assert environment().fingerprint["threads"] == 1


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_a_failed_cell_has_no_latency(status: Status) -> None:
    assert not failed("naive", status, "because").samples_ms
    with pytest.raises(ValueError, match="a latency exists exactly when ok"):
        record(status=status, reason="because")
    with pytest.raises(ValueError, match="a reason exists exactly when not ok"):
        failed("naive", status, "")


def test_an_ok_cell_has_a_latency_and_no_reason() -> None:
    with pytest.raises(ValueError, match="a latency exists exactly when ok"):
        record(samples_ms=())
    with pytest.raises(ValueError, match="a reason exists exactly when not ok"):
        record(reason="but")


def test_caches_are_cold_on_a_gpu_and_hot_on_the_cpu_unless_the_suite_says() -> None:
    assert (Measure().cache_on("cuda"), Measure().cache_on("cpu")) == (Cache.COLD, Cache.HOT)
    assert Measure(cache=Cache.COLD).cache_on("cpu") is Cache.COLD


@pytest.mark.parametrize("sample_ms", [0.0, -1.0, math.inf, math.nan])
def test_a_latency_is_positive_and_finite(sample_ms: float) -> None:
    with pytest.raises(ValueError, match="samples_ms must be positive and finite"):
        record(samples_ms=(1.0, sample_ms))


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_ceilings_are_positive_and_finite(rate: float) -> None:
    for rates in ((rate, 1.0), (1.0, rate)):
        with pytest.raises(ValueError, match="ceilings must be positive and finite"):
            Ceilings(bytes_per_s=rates[0], flops_per_s=rates[1])
