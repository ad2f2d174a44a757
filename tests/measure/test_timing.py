"""Samples: how many, of how many calls, in which cache, and that a GPU is never waited for between them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

from attnbench.measure.timing import (
    CpuSampler,
    CudaSampler,
    NotCapturable,
    Timing,
    captured,
    flush_buffer,
    no_garbage_collection,
    turns,
)
from attnbench.record import Cache


class Clock:
    """A clock that only calls move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 0
        self.calls = 0
        monkeypatch.setattr("time.perf_counter_ns", lambda: self.now_ns)

    def call(self, milliseconds: float) -> Callable[[Tensor], None]:
        def call(_: Tensor) -> None:
            self.calls += 1
            self.now_ns += round(milliseconds * 1e6)

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


X = torch.zeros(1)


def sampled(call: Callable[[Tensor], None], flush: Tensor | None = None, *, max_time_s: float) -> Timing:
    """All samples of one call."""
    with no_garbage_collection():
        taken = CpuSampler(call, X, flush)
        while taken.wants_more(max_time_s):
            taken.take()
    return taken.timing


@pytest.mark.parametrize("latency_ms", [0.01, 0.3, 4.0, 9.0, 50.0])
def test_a_cpu_sample_is_a_loop_of_at_least_ten_milliseconds(clock: Clock, latency_ms: float) -> None:
    found = sampled(clock.call(latency_ms), max_time_s=0.5)
    assert found.calls_per_sample * latency_ms >= 10 * 0.99
    assert found.calls_per_sample <= max(1, 10 / latency_ms + 1.5)
    assert found.samples_ms == pytest.approx([latency_ms] * len(found.samples_ms))
    assert found.timed_s == pytest.approx(latency_ms * found.calls_per_sample * len(found.samples_ms) / 1e3)


def test_slow_first_calls_do_not_make_loops_short(clock: Clock) -> None:
    def warming_up(_: Tensor) -> None:
        clock.calls += 1
        clock.now_ns += round(1e6 * (20.0 if clock.calls < 4 else 0.5))

    found = sampled(warming_up, max_time_s=0.2)
    assert found.calls_per_sample == 20
    assert found.samples_ms[0] == pytest.approx(0.5)


def test_samples_stop_when_the_budget_is_spent(clock: Clock) -> None:
    found = sampled(clock.call(10.0), max_time_s=0.5)
    assert len(found.samples_ms) == 50


def test_three_samples_are_taken_however_slow_the_call(clock: Clock) -> None:
    found = sampled(clock.call(5000.0), max_time_s=0.5)
    assert len(found.samples_ms) == 3


def test_a_turn_is_short_and_keeps_to_the_budget(clock: Clock) -> None:
    taken = CpuSampler(clock.call(1.0), X, None)
    taken.take_turn(10.0)
    assert len(taken.timing.samples_ms) == 5
    taken.take_turn(0.07)
    assert len(taken.timing.samples_ms) == 7
    assert taken.expected_s < 0.1


def test_a_cold_call_is_timed_alone_after_the_cache_was_overwritten(clock: Clock) -> None:
    found = sampled(clock.call(0.1), torch.ones(8), max_time_s=0.01)
    assert found.calls_per_sample == 1
    assert found.samples_ms == pytest.approx([0.1] * len(found.samples_ms))
    assert len(found.samples_ms) >= 100


def test_garbage_is_not_collected_while_timing(clock: Clock) -> None:
    seen: list[bool] = []

    def call(_: Tensor) -> None:
        seen.append(gc.isenabled())
        clock.now_ns += 10**7

    sampled(call, max_time_s=0.1)
    assert not any(seen)
    assert gc.isenabled()


class FakeCuda:
    """torch.cuda's events and queue, on the clock of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
        self.log: list[str] = []

        class Event:
            def __init__(event, *, enable_timing: bool) -> None:  # noqa: N805
                assert enable_timing
                event.at_ms = 0.0

            def record(event) -> None:  # noqa: N805
                self.log.append("record")
                event.at_ms = clock.now_ns / 1e6

            def elapsed_time(event, after: Event) -> float:  # noqa: N805
                return after.at_ms - event.at_ms

        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda _: self.log.append("synchronize"))
        monkeypatch.setattr(torch.cuda, "_sleep", lambda _: self.log.append("sleep"))


def test_a_gpu_is_never_waited_for_between_samples(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    cuda = FakeCuda(monkeypatch, clock)
    flush = torch.ones(8, dtype=torch.int8)
    taken = CudaSampler(clock.call(0.5), X, flush)
    while taken.wants_more(0.1):
        taken.take()
    assert taken.timing.samples_ms == pytest.approx([0.5] * len(taken.timing.samples_ms))
    assert len(taken.timing.samples_ms) >= 100
    assert taken.timing.host_ms == pytest.approx(0.5)
    assert not flush.any()
    log = " ".join(cuda.log)
    assert "record synchronize record" not in log.replace("record record", "pair")
    assert log.count("synchronize") == 2 + len(taken.timing.samples_ms) / 20


def test_a_gpu_is_brought_to_its_steady_clock_on_samples_that_do_not_count(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    FakeCuda(monkeypatch, clock)
    calls = 0

    def warming_up(_: Tensor) -> None:
        nonlocal calls
        calls += 1
        clock.now_ns += round(1e6 * (1.0 + (0.5 if calls < 50 else 0.0)))

    taken = CudaSampler(warming_up, X, None)
    taken.settle()
    assert calls > 60
    assert taken.timing.samples_ms == ()
    taken.take()
    assert taken.timing.samples_ms == pytest.approx([1.0] * 20)


def test_the_host_looks_at_the_gpu_while_it_works(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    cuda = FakeCuda(monkeypatch, clock)
    taken = CudaSampler(clock.call(0.5), X, None, lambda: cuda.log.append("glance"))
    taken.take()
    assert cuda.log[-2:] == ["glance", "synchronize"]


def test_short_calls_are_sampled_until_they_hold_a_tenth_of_a_second(clock: Clock) -> None:
    found = sampled(clock.call(0.05), torch.ones(8), max_time_s=60)
    assert len(found.samples_ms) == pytest.approx(2000, abs=2)


class FakeGraphs:
    """torch.cuda's streams and graphs, as far as capturing goes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.replays = 0

        @contextmanager
        def graph(_: object) -> Iterator[None]:
            yield
            if error is not None:
                raise error

        monkeypatch.setattr(torch.cuda, "Stream", lambda _: Mock())
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Mock())
        monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: Mock(replay=self._replay))
        monkeypatch.setattr(torch.cuda, "graph", graph)

    def _replay(self) -> None:
        self.replays += 1


def test_a_captured_call_is_replayed_and_called_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Tensor] = []
    graphs = FakeGraphs(monkeypatch)
    replay = captured(calls.append, X)
    warm_up = len(calls)
    replay(X)
    replay(X)
    assert (graphs.replays, len(calls)) == (2, warm_up)


def test_what_no_graph_can_hold_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGraphs(monkeypatch, RuntimeError("operation not permitted\nwhen stream is capturing"))
    with pytest.raises(NotCapturable, match=r"^operation not permitted when stream is capturing$"):
        captured(lambda x: x, X)


def test_running_out_of_memory_while_capturing_is_no_matter_of_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGraphs(monkeypatch, torch.OutOfMemoryError("no room"))
    with pytest.raises(torch.OutOfMemoryError):
        captured(lambda x: x, X)


def test_long_calls_are_not_taken_by_twenty(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    FakeCuda(monkeypatch, clock)
    taken = CudaSampler(clock.call(1000.0), X, None)
    while taken.wants_more(2.0):
        taken.take()
    assert len(taken.timing.samples_ms) == 3


@pytest.mark.parametrize(("latency_ms", "hidden"), [(0.02, True), (0.5, True), (5.0, True)])
@pytest.mark.parametrize("flush", [None, torch.ones(8, dtype=torch.int8)])
def test_launches_of_a_short_call_are_hidden_behind_a_full_queue(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, flush: Tensor | None, latency_ms: float, *, hidden: bool
) -> None:
    cuda = FakeCuda(monkeypatch, clock)
    taken = CudaSampler(clock.call(latency_ms), X, flush)
    taken.take()
    assert cuda.log.count("sleep") == int(hidden)


def test_twice_the_cache_is_overwritten_where_it_shall_be_cold() -> None:
    buffer = flush_buffer(torch.device("cpu"), cache=Cache.COLD, cache_bytes=100)
    assert buffer is not None
    assert buffer.nbytes == 200
    assert flush_buffer(torch.device("cpu"), cache=Cache.HOT, cache_bytes=100) is None


def test_every_backend_takes_every_turn_equally_often() -> None:
    orders = turns(3)
    assert [next(orders) for _ in range(4)] == [[0, 1, 2], [2, 0, 1], [1, 2, 0], [0, 1, 2]]
