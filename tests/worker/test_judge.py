"""The judge, in the test's own process: what it hands out, and what it says of whatever comes back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from attnbench.core.channel import memory_file
from attnbench.core.files import read
from attnbench.core.problem import Dtype, Problem
from attnbench.core.protocol import (
    CountEnergy,
    Describe,
    Described,
    EnergyCounted,
    Expect,
    Expected,
    Failed,
    Introduce,
    MeasureCopy,
    MeasureProduct,
    RateMeasured,
    Refused,
    Tensors,
    Unwatch,
    Variation,
    Verdict,
    Verify,
    Watch,
    Watched,
    Watching,
)
from attnbench.core.record import Launch, Measure, Rate, Status
from attnbench.worker import judge as judging
from attnbench.worker.environment import answer_describe
from attnbench.worker.failure import is_out_of_memory
from attnbench.worker.judge import _Judge
from attnbench.worker.reference import BIAS_TABLE, INPUT, OUTPUT, Expectation, Inputs, reference
from attnbench.worker.tensors import NoRoomError, map_tensors, write_tensors
from attnbench.worker.variation import vary_input, vary_rest
from tests.samples import problem

PLAIN, VARIED = Variation(), Variation(signs=5, roll=1)
FORWARD = problem()
TRAINING = problem(mode="forward_backward", bias="relative")


@pytest.fixture
def judge() -> Iterator[_Judge]:
    one = _Judge()
    yield one
    one._forget()


def expected(judge: _Judge, asked: Problem) -> tuple[Expected, Inputs]:
    """What a participant is given."""
    reply, descriptors = judge.answer(Expect(problem=asked), [])
    assert isinstance(reply, Expected)
    given = map_tensors(descriptors[0], reply.inputs)
    x, gradient = given.pop("x"), given.pop("output_gradient")
    return reply, Inputs(x=x, parameters=given, output_gradient=gradient)


def right(judge: _Judge, asked: Problem, variation: Variation = PLAIN) -> dict[str, Tensor]:
    """What an honest participant gives."""
    _, inputs = expected(judge, asked)
    vary_input(asked, inputs.x, variation, PLAIN)
    vary_rest(asked, inputs, variation, PLAIN)
    return {name: value.to(inputs.x.dtype) for name, value in reference(asked, inputs).tensors.items()}


def verdict(
    judge: _Judge, asked: Problem, found: dict[str, Tensor], variation: Variation = PLAIN, *, timed: bool = False,
    **lies: Any,
) -> Verdict:  # fmt: skip
    outputs = memory_file()
    layout = replace(write_tensors(outputs, found), **lies)
    reply, told = judge.answer(Verify(problem=asked, variation=variation, tensors=layout, timed=timed), [outputs])
    assert isinstance(reply, Verdict), reply
    assert told == ()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(outputs)
    return reply


def firsts(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"first {name}": value for name, value in found.items()}


KINDS = pytest.mark.parametrize("asked", [FORWARD, TRAINING], ids=["forward", "training"])


@KINDS
@pytest.mark.parametrize("scope", ["map", "windows", "layer"])
def test_what_is_right_for_plain_and_for_varied_inputs_passes(judge: _Judge, asked: Problem, scope: str) -> None:
    asked = read(Problem, {**asked.to_json(), "scope": scope})
    plain, varied = right(judge, asked), right(judge, asked, VARIED)
    said = verdict(judge, asked, plain)
    assert (said.reason, said.max_error < 1e-5) == ("", True)
    said = verdict(judge, asked, {**varied, **firsts(plain)}, VARIED)
    assert (said.reason, said.max_error < 1e-5) == ("", True)
    timed = varied if len(varied) == 1 else {name: value for name, value in varied.items() if name != OUTPUT}
    assert verdict(judge, asked, timed, VARIED, timed=True).reason == ""


@KINDS
def test_what_is_right_for_other_inputs_is_wrong(judge: _Judge, asked: Problem) -> None:
    plain, varied = right(judge, asked), right(judge, asked, VARIED)
    for found, variation in ((plain, VARIED), (varied, PLAIN), (varied, replace(VARIED, roll=0))):
        assert verdict(judge, asked, found, variation).reason.startswith("output is off by")


def test_a_first_output_that_is_no_longer_what_it_was_is_told(judge: _Judge) -> None:
    plain, varied = right(judge, FORWARD), right(judge, FORWARD, VARIED)
    said = verdict(judge, FORWARD, {**varied, **firsts(varied)}, VARIED)
    assert said.reason == "the first output changed when the function was called again"
    assert verdict(judge, FORWARD, {**varied, **firsts(plain)}, VARIED).reason == ""


Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@pytest.mark.parametrize("variation", [PLAIN, VARIED])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda found: {**found, OUTPUT: 1.01 * found[OUTPUT]}, "output is off by"),
        (lambda found: {**found, OUTPUT: found[OUTPUT] * torch.nan}, "output holds NaN"),
        (lambda found: {**found, OUTPUT: found[OUTPUT].flatten(3)}, "output of shape (2, 14, 14, 64) (allowed: "),
        (lambda found: {**found, OUTPUT: found[OUTPUT][:0]}, "output of shape (0, 14, 14, 2, 32) (allowed: "),
        (lambda found: {**found, OUTPUT: found[OUTPUT].double()}, "output of dtype torch.float64 (allowed: float32)"),
        (lambda found: {**found, OUTPUT: found[OUTPUT].int()}, "output of dtype torch.int32 (allowed: float32)"),
        (lambda found: {**found, OUTPUT: found[OUTPUT] > 0}, "output of dtype torch.bool (allowed: float32)"),
        (lambda found: {**found, OUTPUT: found[OUTPUT].cfloat()}, "output of dtype torch.complex64 (allowed: float32)"),
        (lambda found: {name: found[name] for name in found if name != OUTPUT}, "no output"),
        (lambda found: {name: found[name] for name in found if name != INPUT}, "no gradient of input"),
        (lambda found: {**found, INPUT: 1.01 * found[INPUT]}, "gradient of input is off by"),
        (lambda found: {**found, BIAS_TABLE: found[BIAS_TABLE].half()}, f"gradient of {BIAS_TABLE} of dtype"),
        (lambda found: {name: found[name] for name in found if name != BIAS_TABLE}, f"no gradient of {BIAS_TABLE}"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_verdict_with_its_reason(
    judge: _Judge, change: Change, reason: str, variation: Variation
) -> None:
    said = verdict(judge, TRAINING, change(right(judge, TRAINING, variation)), variation)
    assert said.reason.startswith(reason)


@pytest.mark.parametrize("variation", [PLAIN, pytest.param(VARIED)])
@pytest.mark.parametrize("name", [INPUT, BIAS_TABLE])
def test_a_gradient_of_another_shape_is_told_as_such(judge: _Judge, name: str, variation: Variation) -> None:
    found = right(judge, TRAINING, variation)
    said = verdict(judge, TRAINING, {**found, name: found[name].flatten()}, variation)
    assert said.reason.startswith(f"gradient of {name} of shape")


def test_gradients_that_were_timed_are_missed_where_they_are_not_there(judge: _Judge) -> None:
    found = right(judge, TRAINING)
    assert verdict(judge, TRAINING, {INPUT: found[INPUT]}, timed=True).reason == f"no gradient of {BIAS_TABLE}"
    assert verdict(judge, FORWARD, {}, timed=True).reason == "no output"


@pytest.mark.parametrize("variation", [PLAIN, VARIED])
@pytest.mark.parametrize(
    ("lies", "reason"),
    [
        ({"size": 2**40}, "the outputs are larger than the file"),
        ({"size": -1}, "the outputs are larger than the file"),
        ({"offsets": (-64,)}, "'output' does not lie in the file"),
        ({"offsets": (4,)}, "'output' does not lie in the file"),
        ({"shapes": ((2**40, 2**40),)}, "'output' does not lie in the file"),
        ({"shapes": ((-2, -14, 14, 2, 32),)}, "'output' does not lie in the file"),
        ({"shapes": ((),)}, "output of shape () (allowed: "),
        ({"shapes": ((1,) * 200,)}, "output of shape (1, 1, 1"),
        ({"dtypes": ("nothing",)}, "'nothing' is not a dtype"),
        ({"dtypes": ("x" * 10_000,)}, "'xxxxxxx"),
        ({"names": ()}, "the outputs have not as many names"),
        ({"names": ("first first ",)}, "the first output changed"),
        ({"size": 0}, "no output"),
        pytest.param({"shapes": ((0, 2**70),)}, ""),
        pytest.param({"dtypes": ("int4",)}, ""),
        pytest.param({"dtypes": ("quint8",)}, ""),
    ],
)
def test_a_layout_that_lies_is_a_verdict_too(
    judge: _Judge, lies: dict[str, Any], reason: str, variation: Variation
) -> None:
    found = right(judge, FORWARD, variation)
    said = verdict(judge, FORWARD, found, variation, **lies)
    assert said.reason
    assert said.reason.startswith(reason)
    assert len(said.reason) < 1000
    assert verdict(judge, FORWARD, found, variation).reason == "", "it goes on"


def test_a_file_larger_than_all_outputs_is_not_read(judge: _Judge) -> None:
    expected(judge, FORWARD)
    outputs = memory_file()
    os.ftruncate(outputs, 2**60)
    layout = Tensors(names=("output",), dtypes=("float32",), shapes=((2**58,),), offsets=(0,), size=2**60)
    reply, _ = judge.answer(Verify(problem=FORWARD, variation=PLAIN, tensors=layout), [outputs])
    assert isinstance(reply, Verdict)


def test_a_reference_is_computed_once(judge: _Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[Problem] = []

    def counted(asked: Problem, **options: Any) -> Any:
        computed.append(asked)
        return seeded(asked, **options)

    seeded = Expectation.seeded
    monkeypatch.setattr(Expectation, "seeded", counted)
    shifted = problem(pattern="shifted")
    for asked in (FORWARD, shifted, FORWARD, FORWARD, shifted):
        verdict(judge, asked, right(judge, asked))
    assert computed == [FORWARD, shifted]


@KINDS
@pytest.mark.parametrize("scope", ["map", "windows", "layer"])
def test_what_a_map_that_has_moved_gives_is_looked_at_in_one_image(judge: _Judge, asked: Problem, scope: str) -> None:
    asked = read(Problem, {**asked.to_json(), "scope": scope, "batch": 3})
    moved = Variation(move=2**31 - 1)
    found = right(judge, asked, moved)
    assert not verdict(judge, asked, found, moved).reason
    assert "output is off by" in verdict(judge, asked, {**found, OUTPUT: found[OUTPUT] + 1}, moved).reason
    assert "output is off by" in verdict(judge, asked, right(judge, asked), moved).reason
    timed = {name: value for name, value in found.items() if name != OUTPUT or len(found) == 1}
    assert not verdict(judge, asked, timed, moved, timed=True).reason
    assert "of shape" in verdict(judge, asked, {**found, OUTPUT: found[OUTPUT][:1]}, moved).reason
    assert len(judge._kept[asked].moved) == 1


def test_inputs_are_the_same_in_every_judge_and_nobody_can_change_them(judge: _Judge) -> None:
    other = _Judge()
    first, second = expected(judge, TRAINING)[1], expected(other, TRAINING)[1]
    assert torch.equal(first.x, second.x)
    assert first.parameters.keys() == {BIAS_TABLE}
    first.x.zero_()
    assert torch.equal(expected(judge, TRAINING)[1].x, second.x)
    _, (inputs,) = judge.answer(Expect(problem=TRAINING), [])
    with pytest.raises(PermissionError):
        os.pwrite(inputs, b"x", 0)
    other._forget()


def test_whoever_asks_learns_how_many_variations_there_are_and_how_much_memory_is_free(judge: _Judge) -> None:
    reply, _ = expected(judge, problem(batch=3))
    assert reply.rolls == 3
    assert 2**20 < reply.free_bytes < 2**50


def test_what_was_asked_for_longest_ago_is_forgotten_when_there_is_too_much(
    judge: _Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "_MOST_KEPT_BYTES", 1)
    asked = [problem(heads=heads) for heads in (1, 2, 3)]
    files = []
    for one in (asked[0], asked[1], asked[0], asked[2]):
        _, (inputs,) = judge.answer(Expect(problem=one), [])
        files.append(os.fstat(inputs).st_ino)
    assert list(judge._kept) == [asked[0], asked[2]]
    assert [os.fstat(kept.inputs).st_ino for kept in judge._kept.values()] == [files[0], files[3]]
    assert verdict(judge, asked[1], right(judge, asked[1])).reason == "", "it is computed again"


def test_a_problem_nobody_asked_for_is_computed_when_its_outputs_come(judge: _Judge) -> None:
    found = right(judge, FORWARD)
    judge._forget()
    assert verdict(judge, FORWARD, found).reason == ""


def no_room(*_: object, **__: object) -> None:
    raise NoRoomError("shared memory has no room for 3 MiB (No space left on device)")


def test_inputs_without_room_are_a_lack_of_memory_and_leave_no_file(
    judge: _Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "write_tensors", no_room)
    known = os.listdir("/proc/self/fd")  # noqa: PTH208 - numbers, not paths
    reply, told = judge.answer(Expect(problem=FORWARD), [])
    assert reply == Failed(
        status=Status.OOM,
        reason="the inputs cannot be handed on: shared memory has no room for 3 MiB (No space left on device)",
    )
    assert told == ()
    assert os.listdir("/proc/self/fd") == known  # noqa: PTH208


@pytest.mark.parametrize(
    ("error", "status"), [(MemoryError("no"), Status.OOM), (RuntimeError("no\nway"), Status.ERROR)]
)
def test_a_reference_that_cannot_be_computed_is_told_and_all_memory_given_back(
    judge: _Judge, monkeypatch: pytest.MonkeyPatch, error: Exception, status: Status
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    expected(judge, FORWARD)
    monkeypatch.setattr(Expectation, "seeded", fails)
    reply, _ = judge.answer(Expect(problem=TRAINING), [])
    assert isinstance(reply, Failed)
    assert reply.status is status
    assert "\n" not in reply.reason
    assert not judge._kept


def test_the_machine_is_watched_between_two_questions(judge: _Judge) -> None:
    assert not judge.watching
    assert judge.answer(Watch(threads=3), [])[0] == Watching()
    assert judge.watching
    judge.glance()
    reply, _ = judge.answer(Unwatch(), [])
    assert isinstance(reply, Watched)
    assert reply.conditions.threads == 3
    assert not judge.watching


def test_ceilings_without_room_are_none(judge: _Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Rate(per_s=1.0, spread=0.5)
    moved: list[int] = []

    def pretended(_: torch.device, size: int) -> Rate:
        moved.append(size)
        return known

    monkeypatch.setattr(judging, "copy_rate", pretended)
    for size in (4096, None):
        asked = MeasureCopy(moved_bytes=size, cache_bytes=2**30)
        assert judge.answer(asked, [])[0] == RateMeasured(rate=known)
    assert moved == [4096, 8 * 2**30], "as much as the cell moves, or more than any cache holds"

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(judging, "product_rate", full)
    assert judge.answer(MeasureProduct(dtype=Dtype.FLOAT32), [])[0] == RateMeasured(rate=None)


def test_a_cpu_counts_no_energy(judge: _Judge) -> None:
    assert judge.answer(CountEnergy(), [])[0] == EnergyCounted(joules=None)


def test_the_machine_is_described_and_what_it_has_not_is_refused(judge: _Judge) -> None:
    threads = torch.get_num_threads()
    reply, _ = judge.answer(Describe(device="cpu", measure=Measure(threads=threads)), [])
    assert isinstance(reply, Described)
    assert (reply.device_id, reply.environment.device, reply.environment.threads) == ("cpu", "cpu", threads)
    graphs = Describe(device="cpu", measure=Measure(launch=Launch.GRAPH, threads=threads))
    refused, _ = judge.answer(graphs, [])
    assert isinstance(refused, Refused)
    assert refused.key == ("measure", "launch")
    refused, _ = judge.answer(Describe(device="tpu", measure=Measure(threads=threads)), [])
    assert isinstance(refused, Refused)
    assert refused.message.startswith("device tpu: not a device (allowed: auto, cpu")


def test_a_question_that_is_for_somebody_else_has_no_answer(judge: _Judge) -> None:
    with pytest.raises(ValueError, match="the judge has no answer to Introduce"):
        judge.answer(Introduce(backend="naive", device="cpu", threads=1), [])


def test_switches_of_precision_are_told_whichever_way_they_were_set() -> None:
    code = (
        "import torch; torch.backends.cuda.matmul.fp32_precision = 'tf32'; "
        "torch.backends.cuda.matmul.allow_fp16_accumulation = True; "
        "from attnbench.worker.environment import _flags; found = _flags(); "
        "print(found['float32_matmul_precision'], found['fp16_accumulation'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["tf32", "True"]


def test_a_second_gpu_is_made_current_and_open_before_anything_is_measured_on_it(
    judge: _Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Events and ceilings lie on the current device, whatever device tensors lie on.
    done: list[str] = []
    told = answer_describe(Describe(device="cpu", measure=Measure(threads=1)))
    assert isinstance(told, Described)
    second = replace(told, environment=replace(told.environment, device="cuda:1"))
    monkeypatch.setattr(judging, "answer_describe", lambda _: second)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: done.append(f"current {device}"))
    monkeypatch.setattr(torch, "zeros", lambda *_, device: done.append(f"opened {device}"))
    monkeypatch.setattr(judging, "gpu_uuid", lambda device: done.append(f"managed {device}"))
    assert judge.answer(Describe(device="cuda:1", measure=Measure(threads=1)), [])[0] == second
    assert done == ["current cuda:1", "opened cuda:1", "managed cuda:1"]


@pytest.mark.parametrize("said", [
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
])  # fmt: skip
def test_memory_that_a_library_does_not_get_is_out_of_memory(said: str) -> None:
    assert is_out_of_memory(RuntimeError(said))
    assert not is_out_of_memory(ValueError(said))
