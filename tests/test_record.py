"""What crosses the pipe survives it, and status and payload agree."""

from __future__ import annotations

import pytest

from attnbench.conditions import Glance, GpuSettings
from attnbench.execution.messages import (
    BackendAnswer,
    Describe,
    Described,
    Entered,
    Explain,
    Explained,
    Finished,
    MeasureCase,
    Message,
    Ready,
    Refused,
    Stage,
    decode,
    encode,
)
from attnbench.problem import Pattern
from attnbench.record import Cache, Case, Environment, Measure, Record, Status
from tests.samples import conditions, environment, failed, problem, record, sample_records

MESSAGES: list[Message] = [
    Ready(),
    Describe(device="auto", backends=("naive", "a.b:C"), measure=Measure(cache=Cache.COLD)),
    Described(
        environment=environment(),
        backends=(BackendAnswer(name="naive"), BackendAnswer(name="swin", pattern=Pattern.SHIFTED, unavailable="no")),
        device_id="cpu",
        gpu=GpuSettings(mig=False, now=Glance(power_w=70.0)),
    ),
    Refused(message="launch graph: no", key=("measure", "launch")),
    Explain(backend="naive", device_type="cpu", problems=(problem(), problem(bias="relative"))),
    Explained(reasons=("", "bias relative (allowed: none)")),
    MeasureCase(
        case=Case(name="a", problem=problem(), device="cuda:0", threads=2), backends=("naive", "a.b:C"),
        positions=(3, 4), block=1, measure=Measure(), cache=Cache.HOT, cache_bytes=1, seed=7, shelf="/tmp/shelf",
    ),
    Entered(backend="naive", stage=Stage.PREPARE),
    Finished(record=record(conditions=conditions(glances=(Glance(sm_mhz=1980.0, throttle_reasons=("sync_boost",)),)))),
]  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_survives_the_pipe_on_one_line(message: Message) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1
    assert decode(line) == message


def test_an_unknown_message_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown message 'Hello'"):
        decode(b'{"kind": "Hello"}\n')


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
