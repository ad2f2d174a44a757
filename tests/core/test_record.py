"""What is stored survives it, and status and payload agree."""

from __future__ import annotations

import pytest

from attnbench.core.record import Cache, Environment, Measure, Record, Status
from tests.samples import environment, failed, record, sample_records


@pytest.mark.parametrize("one", sample_records(), ids=lambda one: f"{one.case}-{one.backend}")
def test_records_survive_json(one: Record) -> None:
    assert Record.from_json(one.to_json()) == one


def test_environments_survive_json() -> None:
    assert Environment.from_json(environment().to_json()) == environment()


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


def test_a_record_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="schema version 3"):
        Record.from_json({**record().to_json(), "schema_version": 3})
