"""A participant, in the test's own process: what it answers for backends that are right, wrong, or hostile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from attnbench.backends.base import Attend
from attnbench.core.channel import memory_file
from attnbench.core.problem import Problem
from attnbench.core.protocol import (
    CallAgain,
    Called,
    Describe,
    Described,
    Expect,
    Expected,
    Explain,
    Explained,
    Failed,
    Introduce,
    Introduced,
    KeepCalling,
    Message,
    Outcome,
    Prepare,
    Profile,
    Profiled,
    Release,
    Released,
    Show,
    Shown,
    TakeTurn,
    Tensors,
    Turned,
    Variation,
    Verdict,
    Verify,
    WarmedUp,
    WarmUp,
)
from attnbench.core.record import Cache, Launch, Measure, Status
from attnbench.worker import prepared, timing
from attnbench.worker.judge import _Judge
from attnbench.worker.participant import _failure, _Participant
from attnbench.worker.timing import NotCapturable
from tests import faults
from tests.samples import problem

PLAIN = Variation()
WARM_UP = WarmUp(cache=Cache.HOT, cache_bytes=2**20, settle=False)


class Stage:
    """A participant and a judge, with the files that a parent would hand from one to the other."""

    def __init__(self) -> None:
        self.judge, self.participant = _Judge(), _Participant()
        self._outputs = memory_file()

    def close(self) -> None:
        self.participant.answer(Release(), [])
        self.judge._forget()
        os.close(self._outputs)

    def ask(self, message: Message, *descriptors: int) -> Message:
        """What the parent would hear: an error is told, as ``serve`` does."""
        try:
            return self.participant.answer(message, list(descriptors))
        except Exception as error:
            return _failure(error)

    def introduce(self, backend: str) -> Introduced:
        reply = self.ask(Introduce(backend=backend, device="cpu", threads=torch.get_num_threads()))
        assert isinstance(reply, Introduced)
        return reply

    def prepare(self, asked: Problem, launch: Launch = Launch.EAGER, *, is_checked: bool = True) -> Message:
        expected, (inputs,) = self.judge.answer(Expect(problem=asked), [])
        assert isinstance(expected, Expected)
        prepare = Prepare(problem=asked, launch=launch, inputs=expected.inputs, is_checked=is_checked)
        return self.ask(prepare, os.dup(inputs), os.dup(self._outputs))

    def prepared(self, backend: str, asked: Problem, launch: Launch = Launch.EAGER) -> Message:
        """What a backend answers to its first call."""
        assert self.introduce(backend).unavailable is None
        return self.prepare(asked, launch)

    def reason(self, asked: Problem, outcome: Message, variation: Variation = PLAIN, *, timed: bool = False) -> str:
        """What the judge has against an outcome."""
        assert isinstance(outcome, Outcome), outcome
        verify = Verify(problem=asked, variation=variation, tensors=outcome.tensors, timed=timed)
        said, _ = self.judge.answer(verify, [os.dup(self._outputs)])
        assert isinstance(said, Verdict), said
        return said.reason

    def turned(self, variation: Variation = PLAIN, *, afterwards: Variation | None = None) -> Turned:
        reply = self.ask(TakeTurn(variation=variation, budget_s=0.0, afterwards=afterwards))
        assert isinstance(reply, Turned), reply
        return reply


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage()
    yield one
    one.close()


def test_of_a_first_call_that_nobody_looks_at_nothing_is_told_or_kept(stage: Stage) -> None:
    asked = problem()
    stage.introduce("naive")
    assert stage.prepare(asked, is_checked=False) == Outcome(tensors=Tensors())
    stage.ask(WarmUp(cache=Cache.HOT, cache_bytes=0, settle=False))
    stage.turned(afterwards=Variation(move=5))
    for what, variation in ((Shown.TIMED, PLAIN), (Shown.FRESH, Variation(move=5))):
        assert stage.reason(asked, stage.ask(Show(what=what)), variation, timed=True) == ""


@pytest.mark.parametrize("mode", ["forward", "forward_backward"])
@pytest.mark.parametrize("scope", ["map", "windows", "layer"])
def test_a_case_from_its_first_call_to_its_release(stage: Stage, mode: str, scope: str) -> None:
    asked = problem(mode=mode, scope=scope, bias="relative", batch=3, height=15)
    first, second, timed, fresh = (Variation(signs=3 * roll, roll=roll % 3) for roll in range(4))
    outcome = stage.prepared("naive", asked)
    assert isinstance(outcome, Outcome)
    assert not outcome.modified
    assert stage.reason(asked, outcome, first) == ""
    outcome = stage.ask(CallAgain(variation=second))
    assert isinstance(outcome, Outcome)
    assert sum(name.startswith("first ") for name in outcome.tensors.names) == len(outcome.tensors.names) / 2
    assert stage.reason(asked, outcome, second) == ""

    profiled = stage.ask(Profile())
    assert isinstance(profiled, Profiled)
    assert profiled.peak_bytes > 0
    assert profiled.kernel
    warm = stage.ask(WARM_UP)
    assert isinstance(warm, WarmedUp)
    assert warm.calls_per_loop >= 1
    assert warm.expected_s > 0
    for _ in range(2):
        turned = stage.turned(timed, afterwards=fresh)
        assert all(sample > 0 for sample in turned.samples_ms)
        assert turned.fresh_ms is not None
        assert 0 < turned.timed_s <= turned.whole_s
        assert turned.calls >= warm.calls_per_loop * len(turned.samples_ms)
        assert min(turned.samples_ms) / 1e3 * turned.calls <= turned.called_s <= turned.timed_s
        outcome = stage.ask(Show(what=Shown.TIMED))
        assert isinstance(outcome, Outcome)
        assert not outcome.modified
        assert stage.reason(asked, outcome, timed, timed=True) == "", "not what a call on new values gave"
    assert stage.reason(asked, outcome, fresh, timed=True) != ""

    called = stage.ask(KeepCalling(seconds=0.01))
    assert isinstance(called, Called)
    assert len(called.times_s) == len(called.calls)
    assert (called.calls[0], list(called.calls)) == (0, sorted(called.calls))
    assert list(called.times_s) == sorted(called.times_s)
    assert stage.ask(Release()) == Released()
    assert stage.ask(Release()) == Released()


def test_a_turn_without_new_values_says_nothing_of_them(stage: Stage) -> None:
    stage.prepared("naive", problem())
    stage.ask(WARM_UP)
    assert stage.turned().fresh_ms is None


def test_where_caches_shall_be_cold_a_sample_is_one_call(stage: Stage) -> None:
    stage.prepared("naive", problem())
    warm = stage.ask(WarmUp(cache=Cache.COLD, cache_bytes=2**16, settle=False))
    assert isinstance(warm, WarmedUp)
    assert warm.calls_per_loop == 1


def test_a_cache_too_large_to_be_overwritten_is_a_lack_of_memory(stage: Stage) -> None:
    stage.prepared("naive", problem())
    reply = stage.ask(WarmUp(cache=Cache.COLD, cache_bytes=2**60, settle=False))
    assert isinstance(reply, Failed)
    assert reply.status is Status.OOM
    assert reply.reason.startswith("no room to overwrite the cache: ")


def test_what_inputs_hold_is_counted(stage: Stage) -> None:
    asked = problem(bias="relative")
    stage.prepared("naive", asked)
    profiled = stage.ask(Profile())
    assert isinstance(profiled, Profiled)
    x, gradient, table = 2 * 14 * 14 * 3 * 64, 2 * 14 * 14 * 64, 13 * 13 * 2
    assert profiled.held_bytes == 4 * (x + gradient + table)


@pytest.mark.parametrize("scope", ["map", "layer"])
def test_indices_of_the_layout_are_held_too(stage: Stage, scope: str) -> None:
    held = {}
    for pattern in ("grouped", "shifted"):
        stage.prepared("naive", problem(pattern=pattern, scope=scope))
        profiled = stage.ask(Profile())
        assert isinstance(profiled, Profiled)
        held[pattern] = profiled.held_bytes
        stage.ask(Release())
    tokens = 2 * 14 * 14
    assert held["shifted"] - held["grouped"] == 8 * (tokens + tokens)


def test_one_case_after_another_leaves_no_file_open(stage: Stage) -> None:
    stage.prepared("naive", problem())
    known = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers, not paths
    for backend in ("naive", "tests.faults:RaisesInPrepare", "tests.faults:Unsupported", "tests.faults:WrongShape"):
        stage.prepared(backend, problem())
    stage.prepared("naive", problem())
    assert len(os.listdir("/proc/self/fd")) == known  # noqa: PTH208


@pytest.mark.parametrize(
    ("backend", "introduced"),
    [
        ("naive", Introduced()),
        ("swin", Introduced(pattern=problem(pattern="shifted").pattern)),
        ("tests.faults:Unavailable", Introduced(unavailable="faults are not installed: pip install [faults]")),
    ],
)
def test_a_backend_says_what_it_is(stage: Stage, backend: str, introduced: Introduced) -> None:
    found = stage.introduce(backend)
    assert (found.unavailable, found.pattern, found.invalid) == (
        introduced.unavailable, introduced.pattern, introduced.invalid
    )  # fmt: skip
    assert (found.file is None) == (found.unavailable is not None)


def test_a_backend_that_cannot_be_asked_is_unavailable(stage: Stage) -> None:
    said = stage.introduce("tests.faults:AvailabilityRaises").unavailable
    assert said is not None
    assert said.startswith("asking whether it is available raised OSError: libcudart.so.99: cannot open")


@pytest.mark.parametrize("path", ["tests.faults:Nothing", "tests.nothing:Right", "tests.faults:NotABackend"])
def test_a_path_that_leads_nowhere_is_a_mistake_in_the_suite(stage: Stage, path: str) -> None:
    found = stage.introduce(path)
    assert found.invalid is not None
    assert found.invalid.startswith(f"backend {path}: ")
    assert found.unavailable is None


def test_a_name_that_leads_nowhere_is_a_broken_package(stage: Stage) -> None:
    found = stage.introduce("nothing")
    assert found.unavailable is not None
    assert found.invalid is None


def test_reasons_come_in_the_order_of_the_problems(stage: Stage) -> None:
    stage.introduce("tests.faults:Right")
    asked = Explain(problems=(problem(), problem(bias="relative"), problem(bias="relative", pattern="shifted")))
    assert stage.ask(asked) == Explained(
        reasons=("", "bias relative (allowed: none)", "bias relative (allowed: none); needs a mask (allowed: none)")
    )


def test_an_environment_describes_itself(stage: Stage) -> None:
    reply = stage.ask(Describe(device="cpu", measure=Measure(threads=torch.get_num_threads())))
    assert isinstance(reply, Described)
    assert reply.environment.torch == torch.__version__


@pytest.mark.parametrize(
    ("backend", "status", "said"),
    [
        ("tests.faults:Raises", "error", "RuntimeError: no kernel for (8, 49, 3, 2, 32) (faults.py:"),
        ("tests.faults:RaisesUnpicklable", "error", "LocalError: local (faults.py:"),
        ("tests.faults:RaisesInPrepare", "error", "ValueError: cannot be prepared (faults.py:"),
        ("tests.faults:Unsupported", "unsupported", "heads 2 (allowed: 0); never"),
        ("tests.faults:GivesNoReason", "unsupported", "it gave no reason"),
        ("tests.faults:GivesText", "error", "TypeError: GivesText.unsupported gave 'masks', not a list of reasons"),
        ("tests.faults:Allocates", "oom", "RuntimeError: "),
        ("tests.faults:WrongShape", "wrong_result", "output of shape (8, 49, 64) (allowed: (8, 49, 2, 32))"),
        ("tests.faults:NotATensor", "wrong_result", "output is of type NoneType (allowed: a plain torch.Tensor)"),
        ("tests.cheats:ComputesLater", "wrong_result", "output is of type _Lazy (allowed: a plain torch.Tensor)"),
        ("tests.cheats:ReasonCannotBeTold", "error", "Error: (its text cannot be had: SystemExit)"),
    ],
)
def test_what_cannot_be_prepared_says_why(stage: Stage, backend: str, status: str, said: str) -> None:
    reply = stage.prepared(backend, problem())
    assert isinstance(reply, Failed), reply
    assert (reply.status, reply.reason[: len(said)]) == (status, said)


def test_what_is_said_is_cut_where_it_is_too_long(stage: Stage) -> None:
    reply = stage.prepared("tests.cheats:ReasonIsHuge", problem())
    assert isinstance(reply, Failed)
    assert len(reply.reason) == 2000


def gives(monkeypatch: pytest.MonkeyPatch, attend: Attend) -> str:
    """The name of a backend that computes with ``attend``."""
    monkeypatch.setattr(faults.Right, "attend", lambda _, qkv: attend(qkv))
    return "tests.faults:Right"


@pytest.mark.parametrize(
    ("disguise", "said"),
    [
        (lambda output: torch._neg_view(-output), "output is torch.strided on cpu, a view that computes later"),
        (lambda output: torch.complex(output, output).conj(), "output is torch.strided on cpu, a view that computes"),
        (lambda output: output.to_sparse(), "output is torch.sparse_coo on cpu (allowed: torch.strided on cpu)"),
        (lambda output: output.to("meta"), "output is torch.strided on meta (allowed: torch.strided on cpu)"),
        (torch.nn.Parameter, "output is of type Parameter (allowed: a plain torch.Tensor)"),
    ],
)
def test_an_output_must_be_all_there(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, disguise: Callable[[Tensor], Tensor], said: str
) -> None:
    reply = stage.prepared(gives(monkeypatch, lambda qkv: disguise(faults.right(qkv))), problem(scope="windows"))
    assert isinstance(reply, Failed)
    assert (reply.status, reply.reason[: len(said)]) == (Status.WRONG_RESULT, said)


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("tests.faults:WrongResult", "output is off by"),
        ("tests.faults:WrongDtype", "output of dtype torch.float64 (allowed: float32)"),
        ("tests.faults:NotANumber", "output holds NaN"),
    ],
)
def test_what_is_wrong_is_handed_on_for_the_judge_to_say_so(stage: Stage, backend: str, reason: str) -> None:
    assert stage.reason(problem(), stage.prepared(backend, problem())).startswith(reason)


def test_gradients_that_are_not_there_are_left_to_the_judge(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = problem(mode="forward_backward")
    outcome = stage.prepared(gives(monkeypatch, lambda qkv: faults.right(qkv).detach()), asked)
    assert stage.reason(asked, outcome) == "no gradient of input"


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("tests.faults:RemembersFirst", "output is off by"),
        ("tests.faults:ReusesOutput", "the first output changed when the function was called again"),
    ],
)
def test_a_second_call_shows_what_the_first_one_hides(stage: Stage, backend: str, reason: str) -> None:
    asked, variation = problem(scope="windows"), Variation(signs=5, roll=1)
    assert stage.reason(asked, stage.prepared(backend, asked)) == ""
    assert stage.reason(asked, stage.ask(CallAgain(variation=variation)), variation).startswith(reason)


def test_an_input_that_was_modified_is_told(stage: Stage) -> None:
    outcome = stage.prepared("tests.faults:ModifiesInput", problem(scope="windows"))
    assert isinstance(outcome, Outcome)
    assert outcome.modified


def test_an_input_that_is_modified_while_it_is_timed_is_told_when_that_is_shown(stage: Stage) -> None:
    outcome = stage.prepared("tests.faults:ModifiesInputLater", problem(scope="windows"))
    assert isinstance(outcome, Outcome)
    assert not outcome.modified
    stage.ask(WARM_UP)
    stage.turned(Variation(signs=5, roll=1))
    outcome = stage.ask(Show(what=Shown.TIMED))
    assert isinstance(outcome, Outcome)
    assert outcome.modified


@pytest.mark.parametrize(
    ("backend", "named"),
    [
        ("tests.cheats:SlowsTheClock", "time.perf_counter_ns"),
        ("tests.cheats:SlowsOurClock", "attnbench.worker.timing._now_ns"),
    ],
)
def test_whoever_replaces_the_clock_is_named(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, backend: str, named: str
) -> None:
    monkeypatch.setattr(time, "perf_counter_ns", time.perf_counter_ns)  # put back when the test is over
    monkeypatch.setattr(timing, "_now_ns", timing._now_ns)
    assert stage.prepared(backend, problem()) == Failed(
        status=Status.WRONG_RESULT, reason=f"it replaced {named}, by which it is measured"
    )


def test_whoever_replaces_the_clock_later_is_named_when_it_is_shown(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.prepared("naive", problem())
    stage.ask(WARM_UP)
    stage.turned()
    monkeypatch.setattr(time, "perf_counter_ns", lambda: 0)
    assert stage.ask(Show(what=Shown.TIMED)) == Failed(
        status=Status.WRONG_RESULT, reason="it replaced time.perf_counter_ns, by which it is measured"
    )


def test_whoever_computes_when_an_output_is_handed_on_is_found(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = Tensor.detach, problem(scope="windows")

    def attend(qkv: Tensor) -> Tensor:
        output = qkv[:, :, 0]
        output.__dict__["given"] = qkv.clone()
        return output

    def detach(output: Tensor) -> Tensor:
        given = output.__dict__.pop("given", None)
        return real(output) if given is None else faults.right(given)

    monkeypatch.setattr(Tensor, "detach", detach)
    reply = stage.prepared(gives(monkeypatch, attend), asked)
    assert isinstance(reply, Failed) or stage.reason(asked, reply)


def test_whoever_replaces_the_comparison_cannot_hide_that_an_input_was_modified(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "equal", lambda *_: True)
    reply = stage.prepared("tests.faults:ModifiesInput", problem(scope="windows"))
    assert isinstance(reply, Failed) or (isinstance(reply, Outcome) and reply.modified)


def test_threads_are_not_a_backends_to_set(stage: Stage) -> None:
    threads = torch.get_num_threads()
    try:
        reply = stage.prepared("tests.faults:TakesThreads", problem())
    finally:
        torch.set_num_threads(threads)
    assert reply == Failed(
        status=Status.ERROR, reason=f"it set torch's CPU threads to 2 (allowed: {threads}, measure.threads)"
    )


class Graph:
    """What stands for a CUDA graph on a CPU: it computes from the same memory and to the same memory every time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, scale: float = 1.0, runs: bool = True) -> None:
        self._scale, self._runs = scale, runs
        monkeypatch.setattr(prepared, "captured", self.captured)

    def captured(self, call: Callable[[Tensor], Any], x: Tensor) -> Callable[[Tensor], Any]:
        kept = call(x)
        tensors = kept if isinstance(kept, tuple) else (kept,)

        def replay(_: Tensor) -> Any:
            if self._runs:
                again = call(x)
                with torch.no_grad():
                    for tensor, new in zip(tensors, again if isinstance(again, tuple) else (again,), strict=True):
                        tensor.copy_(self._scale * new)
            return kept

        return replay


@pytest.mark.parametrize(
    "asked", [problem(), problem(mode="forward_backward", bias="relative")], ids=["forward", "training"]
)
@pytest.mark.parametrize(("graph", "right"), [({}, True), ({"scale": 1.01}, False), ({"runs": False}, False)])
def test_what_a_graph_computes_is_shown_as_it_was_timed(
    monkeypatch: pytest.MonkeyPatch, asked: Problem, graph: dict[str, Any], *, right: bool
) -> None:
    Graph(monkeypatch, **graph)
    stage = Stage()  # what measures is what it finds
    stage.prepared("naive", asked, Launch.GRAPH)
    second, timed = Variation(signs=3, roll=1), Variation(signs=4)
    assert stage.reason(asked, stage.ask(CallAgain(variation=second)), second) == ""
    stage.ask(WARM_UP)
    stage.turned(timed)
    reason = stage.reason(asked, stage.ask(Show(what=Shown.TIMED)), timed, timed=True)
    assert (reason == "") is right
    assert right or "is off by" in reason
    stage.close()


def test_what_no_graph_can_hold_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    def captured(*_: object) -> None:
        raise NotCapturable("it waits for the device")

    monkeypatch.setattr(prepared, "captured", captured)
    stage = Stage()
    stage.prepared("naive", problem(), Launch.GRAPH)
    assert stage.ask(CallAgain(variation=PLAIN)) == Failed(
        status=Status.UNSUPPORTED,
        reason="no CUDA graph can hold it (measure.launch: graph): it waits for the device",
    )
    stage.close()


def test_a_question_without_a_case_is_told_to_be_none(stage: Stage) -> None:
    stage.introduce("naive")
    reply = stage.ask(Profile())
    assert isinstance(reply, Failed)
    assert reply.reason.startswith("AssertionError: no case was prepared")
