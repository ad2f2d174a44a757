"""Samples: how many, of how many calls, in which cache, and that a GPU is never waited for between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

from attnbench.core.protocol import Shown
from attnbench.core.record import Cache
from attnbench.worker import timing
from attnbench.worker.timing import (
    CpuSampler,
    CudaSampler,
    NotCapturable,
    Turn,
    captured,
    flush_buffer,
)


class Clock:
    """A clock that only calls move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 0
        self.calls = 0
        monkeypatch.setattr(timing, "_now_ns", lambda: self.now_ns)

    def call(self, milliseconds: float) -> Callable[[Tensor], None]:
        def call(_: Tensor) -> None:
            self.calls += 1
            self.now_ns += round(milliseconds * 1e6)

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


X = torch.zeros(1)


def sampled(call: Callable[[Tensor], None], flush: Tensor | None = None, *, budget_s: float) -> tuple[Turn, int]:
    """One turn, and the calls in each of its samples."""
    taken = CpuSampler(call, flush)
    taken.warm_up(X, settle=False)
    return taken.take_turn(X, budget_s), taken.calls


@pytest.mark.parametrize("latency_ms", [0.01, 0.3, 4.0, 9.0, 50.0])
def test_a_cpu_sample_is_the_fastest_of_the_short_loops_that_fill_ten_milliseconds(
    clock: Clock, latency_ms: float
) -> None:
    found, calls = sampled(clock.call(latency_ms), budget_s=0.5)
    assert 0.5 * 0.99 <= calls * latency_ms <= max(latency_ms, 0.5 + 1.5 * latency_ms)
    assert found.samples_ms == pytest.approx([latency_ms] * len(found.samples_ms))
    assert found.calls * latency_ms >= 10 * 0.99 * len(found.samples_ms)
    assert found.timed_s == pytest.approx(found.called_s) == pytest.approx(latency_ms * found.calls / 1e3)


def test_an_interruption_shows_in_the_mean_alone(clock: Clock) -> None:
    def now_and_then_slow(_: Tensor) -> None:
        clock.calls += 1
        clock.now_ns += round(1e6 * (2.0 if clock.calls % 10 == 0 else 0.1))

    found, _ = sampled(now_and_then_slow, budget_s=0.5)
    assert found.samples_ms == pytest.approx([0.1] * len(found.samples_ms))
    assert 1e3 * found.called_s / found.calls == pytest.approx(0.29, rel=0.05)


def test_nobody_can_know_how_many_calls_a_loop_has(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    seen = set()
    taken = CpuSampler(clock.call(0.1), None)
    taken.warm_up(X, settle=False)
    whole = CpuSampler._loop

    def watched(sampler: CpuSampler, x: Tensor, calls: int) -> tuple[float, Any]:
        seen.add(calls)
        return whole(sampler, x, calls)

    monkeypatch.setattr(CpuSampler, "_loop", watched)
    taken.take_turn(X, 0.2)
    assert seen == {taken.calls, taken.calls + 1}


def test_slow_first_calls_do_not_make_loops_short(clock: Clock) -> None:
    def warming_up(_: Tensor) -> None:
        clock.calls += 1
        clock.now_ns += round(1e6 * (20.0 if clock.calls < 2 else 0.5))

    found, calls = sampled(warming_up, budget_s=0.2)
    assert calls == 1
    assert found.samples_ms[0] == pytest.approx(0.5)


def test_a_turn_ends_when_its_budget_is_spent_and_holds_one_sample_at_least(clock: Clock) -> None:
    assert len(sampled(clock.call(10.0), budget_s=0.05)[0].samples_ms) == 5
    assert len(sampled(clock.call(5000.0), budget_s=0.05)[0].samples_ms) == 1
    assert len(sampled(clock.call(1.0), budget_s=0.0)[0].samples_ms) == 1


def test_a_cold_call_is_timed_alone_after_the_cache_was_overwritten(clock: Clock) -> None:
    flush = torch.ones(8)
    found, calls = sampled(clock.call(0.1), flush, budget_s=0.01)
    assert calls == 1
    assert found.samples_ms == pytest.approx([0.1] * len(found.samples_ms))
    assert len(found.samples_ms) >= 100
    assert not flush.any()


def test_what_the_fastest_loop_gave_is_kept_and_what_others_gave_is_not(clock: Clock) -> None:
    given: list[int] = []

    def call(_: Tensor) -> int:
        given.append(len(given))
        clock.now_ns += 10**7 // (2 if given[-1] == 12 else 1)
        return given[-1]

    taken = CpuSampler(call, None)
    taken.warm_up(X, settle=False)
    assert len(given) < 12
    taken.take_turn(X, 0.2)
    assert given[-1] > 12
    assert taken.results[Shown.TIMED] == 12
    taken.once(X)
    assert taken.results[Shown.TIMED] == 12, "a call by itself is not one that was sampled"
    taken.take_turn(X, 0.02)
    assert taken.results[Shown.TIMED] > 20, "every turn has other inputs"


def test_the_longest_sample_says_how_long_a_turn_may_take(clock: Clock) -> None:
    taken = CpuSampler(clock.call(30.0), None)
    taken.warm_up(X, settle=False)
    warm_s = taken.longest_s
    assert warm_s >= 0.06, "the warm-up as a whole"
    taken._call = clock.call(2000.0)
    taken.take_turn(X, 0.05)
    assert taken.longest_s == pytest.approx(2.0)


def test_one_call_by_itself_is_timed_whatever_a_sample_holds(clock: Clock) -> None:
    taken = CpuSampler(clock.call(0.3), None)
    taken.warm_up(X, settle=False)
    before = clock.calls
    assert taken.once(X) == pytest.approx(0.3)
    assert clock.calls == before + 1


def test_page_faults_and_switches_are_those_of_the_turn(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    usages = iter([Mock(ru_minflt=100, ru_nivcsw=10), Mock(ru_minflt=107, ru_nivcsw=12)])
    taken = CpuSampler(clock.call(1.0), None)
    taken.warm_up(X, settle=False)
    monkeypatch.setattr(timing, "_usage", lambda _: next(usages))
    found = taken.take_turn(X, 0.05)
    assert (found.page_faults, found.involuntary_switches, found.late_s) == (7, 2, 0.0)


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

            def synchronize(event) -> None:  # noqa: N805
                self.log.append("synchronize")

            def elapsed_time(event, after: Event) -> float:  # noqa: N805
                return after.at_ms - event.at_ms

        monkeypatch.setattr(timing, "_Event", Event)
        monkeypatch.setattr(timing, "_synchronize", lambda _: self.log.append("synchronize"))
        monkeypatch.setattr(timing, "_sleep", lambda _: self.log.append("sleep"))


def on_gpu(call: Callable[[Tensor], None], flush: Tensor | None = None, *, settle: bool = False) -> CudaSampler:
    taken = CudaSampler(call, flush)
    taken.warm_up(X, settle=settle)
    return taken


def test_a_gpu_is_never_waited_for_between_samples(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    cuda = FakeCuda(monkeypatch, clock)
    flush = torch.ones(8, dtype=torch.int8)
    taken = on_gpu(clock.call(0.5), flush)
    cuda.log.clear()
    found = taken.take_turn(X, 0.1)
    assert found.samples_ms == pytest.approx([0.5] * len(found.samples_ms))
    assert len(found.samples_ms) >= 100
    assert taken.host_ms == pytest.approx(0.5)
    assert not flush.any()
    # A host that is busy for half a millisecond may launch 200 kernels: five such calls would overrun the queue.
    assert cuda.log.count("synchronize") == len(found.samples_ms) / 4 + 1, "once a batch, and once for what is late"


def test_a_gpu_is_brought_to_its_steady_clock_on_samples_that_do_not_count(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    FakeCuda(monkeypatch, clock)
    calls = 0

    def warming_up(_: Tensor) -> None:
        nonlocal calls
        calls += 1
        clock.now_ns += round(1e6 * (1.0 + (0.5 if calls < 50 else 0.0)))

    taken = on_gpu(warming_up, settle=True)
    assert calls > 60
    assert taken.take_turn(X, 0.01).samples_ms == pytest.approx([1.0] * 10)


def test_work_on_another_stream_shows_as_late(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    FakeCuda(monkeypatch, clock)
    taken = on_gpu(clock.call(0.5))

    def late(_: object) -> None:
        clock.now_ns += 30_000_000

    monkeypatch.setattr(timing, "_synchronize", late)
    assert taken.take_turn(X, 0.01).late_s == pytest.approx(0.03)


def test_one_call_by_itself_on_a_gpu_is_timed_between_events(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    cuda = FakeCuda(monkeypatch, clock)
    taken = on_gpu(clock.call(0.5))
    cuda.log.clear()
    assert taken.once(X) == pytest.approx(0.5)
    assert cuda.log == ["synchronize", "sleep", "record", "record", "synchronize"]


def test_what_the_last_call_of_a_batch_gave_is_kept(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    FakeCuda(monkeypatch, clock)
    given: list[int] = []

    def call(_: Tensor) -> int:
        clock.now_ns += 10**6
        given.append(len(given))
        return given[-1]

    taken = CudaSampler(call, None)
    taken.warm_up(X, settle=False)
    taken.take_turn(X, 0.0)
    assert taken.results[Shown.TIMED] == given[-1]
    taken.once(X)
    assert taken.results[Shown.TIMED] == given[-2]


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


def test_why_a_capture_ended_stands_in_the_first_of_two_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    again = RuntimeError("failed due to a previous error during capture")
    again.__context__ = RuntimeError("it waited for the device")
    FakeGraphs(monkeypatch, again)
    with pytest.raises(NotCapturable, match=r"^it waited for the device$"):
        captured(lambda x: x, X)


def test_running_out_of_memory_while_capturing_is_no_matter_of_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGraphs(monkeypatch, torch.OutOfMemoryError("no room"))
    with pytest.raises(torch.OutOfMemoryError):
        captured(lambda x: x, X)


def test_long_calls_are_not_taken_by_twenty(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    FakeCuda(monkeypatch, clock)
    assert len(on_gpu(clock.call(1000.0)).take_turn(X, 0.05).samples_ms) == 1


@pytest.mark.parametrize(("latency_ms", "hidden"), [(0.02, True), (0.5, True), (5.0, True)])
@pytest.mark.parametrize("flush", [None, torch.ones(8, dtype=torch.int8)])
def test_launches_of_a_short_call_are_hidden_behind_a_full_queue(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, flush: Tensor | None, latency_ms: float, *, hidden: bool
) -> None:
    cuda = FakeCuda(monkeypatch, clock)
    taken = on_gpu(clock.call(latency_ms), flush)
    cuda.log.clear()
    taken.take_turn(X, 0.0)
    assert cuda.log.count("sleep") == int(hidden)


def test_a_long_call_whose_launch_is_short_is_not_kept_waiting(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    cuda = FakeCuda(monkeypatch, clock)
    taken = on_gpu(clock.call(5.0))
    taken.host_ms = 0.1
    cuda.log.clear()
    taken.take_turn(X, 0.0)
    assert "sleep" not in cuda.log


def test_twice_the_cache_is_overwritten_where_it_shall_be_cold() -> None:
    buffer = flush_buffer(torch.device("cpu"), cache=Cache.COLD, cache_bytes=100)
    assert buffer is not None
    assert buffer.nbytes == 200
    assert flush_buffer(torch.device("cpu"), cache=Cache.HOT, cache_bytes=100) is None
