"""What is believed of a turn, and what is not: pure numbers."""

from __future__ import annotations

import random
from typing import Any

import pytest

from attnbench.core.protocol import Profiled, Turned
from attnbench.core.record import BackendChoice, Case, Status
from attnbench.core.text import clean
from attnbench.run.cell_state import CellEnds, Hangs, Known, Work
from attnbench.run.checks import check_claims, check_idle, check_leak, check_turn, longest_fresh_ms
from attnbench.run.events import Cell
from attnbench.run.interpreter import this_interpreter
from attnbench.run.participant_process import Usage
from attnbench.run.process_pool import Participant
from tests.samples import failed, problem


def turned(**fields: Any) -> Turned:
    known = {
        "samples_ms": (1.0,) * 5,
        "calls": 50,
        "called_s": 0.05,
        "timed_s": 0.05,
        "fresh_ms": None,
        "whole_s": 0.051,
        "page_faults": 0,
    }
    return Turned(**{"involuntary_switches": 0, **known, **fields})


def work(**fields: Any) -> Work:
    case = Case(name="one", problem=problem(), device="cpu", threads=1)
    participant = Participant(choice=BackendChoice(label="a", name="a"), interpreter=this_interpreter())
    cell = Cell(case=case, backend="a", position=0, round=0)
    return Work(cell=cell, participant=participant, problem=problem(), calls_per_loop=10, **fields)


def test_a_turn_that_took_what_it_claims_is_believed() -> None:
    check_turn(turned(), 0.0515)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"whole_s": 0.2}, "it claims 0.2 s for a turn of 0.052 s"),
        ({"samples_ms": (20.0,) * 5, "called_s": 1.0}, "it claims 1 s for a turn"),
        ({"samples_ms": (20.0,) * 5}, "it says that 50 calls took 0.05 s, and the fastest 20 ms"),
        ({"calls": 0}, "it says that 0 calls took 0.05 s"),
        ({"samples_ms": ()}, "samples that are no times"),
        ({"samples_ms": (1.0, -1.0)}, "samples that are no times"),
        ({"samples_ms": (1.0, 0.0)}, "samples that are no times"),
        ({"samples_ms": (float("inf"),)}, "samples that are no times"),
        ({"late_s": 0.02}, "the device worked on for 0.02 s"),
    ],
)
def test_a_turn_that_cannot_be_is_not(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(CellEnds, match=said) as ended:
        check_turn(turned(**fields), 0.052)
    assert ended.value.status is Status.WRONG_RESULT


def test_who_works_while_others_have_their_turns_is_found_and_who_wakes_for_a_moment_is_not() -> None:
    with pytest.raises(CellEnds, match=r"still at work after its turns: 0.2 s of CPU time in 2 s"):
        check_idle(work(turns=[turned()] * 10, idle_s=2.0, idle_cpu_s=0.2))
    check_idle(work(turns=[turned()] * 10, idle_s=2.0, idle_cpu_s=0.05))
    check_idle(work(turns=[turned()]))


def test_a_slow_clock_shows_in_the_cpu_time_and_being_descheduled_does_not() -> None:
    slow = work(turns=[turned(whole_s=0.005)] * 10, cpu_s=0.5)
    with pytest.raises(CellEnds, match=r"it took 0.5 s of CPU time in turns of which it claims 0.05 s"):
        check_claims(slow, 1, hot=True)
    check_claims(work(turns=[turned(whole_s=0.5)] * 10, cpu_s=0.5), 1, hot=True)
    check_claims(work(turns=[turned(whole_s=0.05)] * 10, cpu_s=0.99), 2, hot=True)


def test_calls_that_took_less_than_the_time_in_which_nothing_else_was_done_were_not_timed_by_this_clock() -> None:
    turns = [turned(called_s=0.0125, samples_ms=(0.25,) * 5)] * 10
    with pytest.raises(CellEnds, match=r"its calls took 0.125 s of the 0.5 s in which it did nothing else"):
        check_claims(work(turns=turns, cpu_s=0.5), 1, hot=True)
    check_claims(work(turns=turns, cpu_s=0.5), 1, hot=False)


def test_who_waited_for_a_core_between_loops_is_not_accused() -> None:
    # As it was seen: of 0.204 s in ten turns, 0.053 s lay between loops, all of it on the run queue.
    turns = [turned(timed_s=0.0204, whole_s=0.0204, called_s=0.0151, samples_ms=(0.3,) * 5)] * 10
    with pytest.raises(CellEnds, match="in which it did nothing else"):
        check_claims(work(turns=turns, cpu_s=0.15, queued_s=0.001), 1, hot=True)
    check_claims(work(turns=turns, cpu_s=0.15, queued_s=0.05), 1, hot=True)


def test_who_waits_for_a_thread_of_its_own_is_not_excused() -> None:
    alone, beside = work(), work()
    alone.count(turned(), 0.06, Usage(cpu_s=0.03, main_thread_s=0.03, queued_s=0.03), threads=1)
    beside.count(turned(), 0.06, Usage(cpu_s=0.06, main_thread_s=0.03, queued_s=0.03), threads=1)
    assert alone.queued_s == pytest.approx(0.03)
    assert beside.queued_s == 0.0
    untold = work()
    untold.count(turned(), 0.06, Usage(cpu_s=0.04), threads=1)
    assert untold.queued_s == pytest.approx(0.02)


def test_turns_that_all_take_longer_than_they_claim_were_timed_by_a_slow_clock() -> None:
    used = Usage(cpu_s=0.0, main_thread_s=0.0, queued_s=0.0)  # of a process that sleeps while its child answers
    slow, honest = work(), work()
    for number in range(10):
        slow.count(turned(whole_s=0.051), 0.5, used, threads=1)
        honest.count(turned(whole_s=0.051), 0.5 if number else 0.0515, used, threads=1)
    with pytest.raises(CellEnds, match=r"each of its turns took 0.444 s or more beyond what it claims"):
        check_claims(slow, 1, hot=True)
    check_claims(honest, 1, hot=True)


def test_ten_thousand_honest_turns_with_neighbours_on_every_core_raise_nothing() -> None:
    drawn = random.Random(0)
    for _ in range(1000):
        honest, cpu_s = [], 0.0
        for _ in range(10):
            computing_s, waiting_s = drawn.uniform(0.01, 0.06), drawn.expovariate(20)
            handing_over_s = drawn.uniform(1e-4, 8e-4)
            whole_s = computing_s + waiting_s
            cpu_s += computing_s + handing_over_s
            honest.append(
                turned(whole_s=whole_s, timed_s=0.9 * whole_s, called_s=0.9 * whole_s, samples_ms=(whole_s * 17,) * 5)
            )
            check_turn(honest[-1], whole_s + handing_over_s)
        check_claims(work(turns=honest, cpu_s=cpu_s), 1, hot=True)


def test_memory_kept_with_every_call_is_a_leak_and_a_heap_that_settles_is_none() -> None:
    known = Known(max_error=0.0, profiled=Profiled(peak_bytes=2**20, held_bytes=2**20, kernel=""), joules=None)
    turns = [turned()] * 20
    check_leak(work(turns=turns, known=known, resident_bytes=[2**28, 2**28 + 2**24]))
    with pytest.raises(CellEnds, match="MiB of memory with every call") as ended:
        check_leak(work(turns=turns, known=known, resident_bytes=[2**28, 2**28 + 2**27]))
    assert ended.value.status is Status.ERROR


def test_a_call_on_new_values_may_take_twice_as_long_and_no_longer() -> None:
    assert longest_fresh_ms(1.0) == pytest.approx(2.1)


def test_what_hung_in_two_cases_gets_the_short_deadline_unless_that_is_the_long_one() -> None:
    from attnbench.core.record import Measure

    hangs, measure = Hangs(), Measure()
    for name in ("one", "one", "two"):
        assert hangs.limit("a", measure) == (300.0, "prepare_timeout_s")
        hangs.add(failed("a", Status.TIMEOUT, "late", name))
    assert hangs.limit("a", measure) == (10.0, "hung_timeout_s: it timed out in 2 cases before")
    assert hangs.limit("b", measure)[0] == 300.0
    assert hangs.limit("a", Measure(hung_timeout_s=300.0))[0] == 300.0


def test_what_a_backend_says_is_one_printable_line() -> None:
    assert clean("a\n\x1b[31m\ud800 b\u202e\x00", longest=2000) == "a b"
    assert len(clean("x" * 10_000, longest=2000)) == 2000
