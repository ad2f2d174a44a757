"""What crosses the sockets survives it, and what is no message is told from what is."""

from __future__ import annotations

import json
import math
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import is_dataclass
from datetime import datetime
from types import NoneType, UnionType
from typing import Any, cast, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnbench.core import channel as channels
from attnbench.core.channel import Channel, ClosedError, GarbledError, decode, encode, memory_file
from attnbench.core.problem import Bias, Mode, Padding, Pattern, Problem, Scope
from attnbench.core.protocol import EnergyCounted, Failed, Message, Turned, Verdict
from attnbench.core.record import Ceilings, Status
from tests.samples import problem

KINDS: tuple[type, ...] = get_args(Message)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Everything that a field of this type may hold."""
    arguments = get_args(hint)
    origin = get_origin(hint) or hint
    found: st.SearchStrategy[Any]
    if origin is UnionType:
        found = st.one_of(*map(values, arguments))
    elif origin is tuple:
        found = st.lists(values(arguments[0]), max_size=3).map(tuple)
    elif origin is dict:
        found = st.dictionaries(*map(values, arguments), max_size=3)
    elif origin is Problem:
        choices = {"mode": Mode, "pattern": Pattern, "padding": Padding, "bias": Bias, "scope": Scope}
        fields = {name: st.sampled_from(list(choice)) for name, choice in choices.items()}
        found = st.builds(problem, batch=st.integers(1, 2**40), height=st.integers(7, 99), **fields)
    elif origin is Ceilings:
        rates = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
        found = st.builds(Ceilings, bytes_per_s=rates, flops_per_s=rates)
    elif is_dataclass(origin):
        hints = get_type_hints(cast("type", origin)).items()
        counts = st.integers(1, 2**20)
        known = {"started_at": st.datetimes().map(datetime.isoformat), "cores": counts, "threads": counts}
        found = st.builds(cast("type", origin), **{name: known.get(name, values(one)) for name, one in hints})
    elif origin is float:
        found = st.floats(allow_nan=False, allow_infinity=False) | st.just(math.inf)
    else:
        found = st.none() if origin is NoneType else st.from_type(origin)
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data(), number=st.integers(), descriptors=st.integers(0, 4))
@settings(max_examples=10, deadline=None)
def test_every_message_survives_the_line(kind: type, data: st.DataObject, number: int, descriptors: int) -> None:
    message = data.draw(values(kind))
    line = encode(message, number=number, descriptors=descriptors)
    assert line.count(b"\n") == 1
    assert decode(line) == (message, number, descriptors)


@pytest.mark.parametrize("text", ["a\nb", "\u2028", "\x1b[31m", "\x00", "\ud800", "[bold]", '"', "\U0001f600"])
def test_whatever_a_backend_says_survives_the_line(text: str) -> None:
    said = Failed(status=Status.ERROR, reason=text)
    line = encode(said)
    assert line.count(b"\n") == 1
    assert decode(line)[0] == said


def test_a_whole_number_may_stand_for_a_time() -> None:
    line = encode(Verdict(max_error=0.5, reason="")).replace(b"0.5", b"3")
    assert decode(line)[0] == Verdict(max_error=3.0, reason="")


TURNED = Turned(
    samples_ms=(1.5, 2.0), calls=40, called_s=0.09, timed_s=0.1, fresh_ms=None, whole_s=0.2, page_faults=3,
    involuntary_switches=0,
)  # fmt: skip
GOOD: dict[str, Any] = json.loads(encode(TURNED))
HUGE = 10**400
NO_PROBLEM = {**problem().to_json(), "batch": 0}


def changed(**fields: Any) -> dict[str, Any]:
    return {**GOOD, "message": {**GOOD["message"], **fields}}


@pytest.mark.parametrize(
    "data",
    [
        {**GOOD, "kind": "Hello"},
        {**GOOD, "kind": ["Turned"]},
        {**GOOD, "number": "1"},
        {**GOOD, "number": 1.0},
        {**GOOD, "descriptors": None},
        {**GOOD, "message": [1]},
        {**GOOD, "message": {"timed_s": 1.0}},
        {"kind": "Turned"},
        [],
        changed(more=1),
        changed(timed_s="fast"),
        changed(timed_s=None),
        changed(timed_s=math.nan),
        changed(timed_s=-math.inf),
        pytest.param(changed(timed_s=HUGE)),
        changed(samples_ms=[1.0, None]),
        changed(samples_ms=3),
        changed(samples_ms={"0": 1.0}),
        changed(page_faults=True),
        changed(page_faults=1.5),
        {**GOOD, "kind": "Introduced", "message": {"pattern": "round"}},
        {**GOOD, "kind": "Introduced", "message": {"unavailable": 3}},
        {**GOOD, "kind": "Expect", "message": {"problem": None}},
        pytest.param({**GOOD, "kind": "Expect", "message": {"problem": NO_PROBLEM}}),
    ],
)  # fmt: skip
def test_what_is_no_message_is_garbled(data: Any) -> None:
    with pytest.raises(GarbledError):
        decode(json.dumps(data).encode())


@pytest.mark.parametrize(
    "line", [b"\xff\xfe{", b"", b"{", b"[" * 100_000, b'"' + b"x" * 100, b"1" * 10_000, b'{"kind": "\\ud800"}']
)
def test_garbage_is_garbled(line: bytes) -> None:
    with pytest.raises(GarbledError):
        decode(line)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_no_field_of_any_message_holds_what_it_should_not(kind: type, data: st.DataObject) -> None:
    fields = {name: data.draw(JSON) for name in get_type_hints(kind)}
    try:
        message, *_ = decode(
            json.dumps({"kind": kind.__name__, "number": 0, "descriptors": 0, "message": fields}).encode()
        )
    except GarbledError:
        return
    assert decode(encode(message))[0] == message


def test_an_error_that_tells_of_garbage_is_short() -> None:
    with pytest.raises(GarbledError) as garbled:
        decode(json.dumps(changed(timed_s="x\n" * 10_000)).encode())
    assert len(str(garbled.value)) <= 200
    assert "\n" not in str(garbled.value)


Make = Callable[..., tuple[Channel, socket.socket]]
SAID = EnergyCounted(joules=None)


@pytest.fixture
def channel() -> Iterator[Make]:
    """Makes one end a channel, and gives the bare other end beside it."""
    with ExitStack() as stack:

        def make(*, trusted: bool = True) -> tuple[Channel, socket.socket]:
            ours, theirs = map(stack.enter_context, socket.socketpair())
            return Channel(ours, trusted=trusted), theirs

        yield make


@pytest.fixture
def file() -> Iterator[int]:
    descriptor = memory_file()
    os.write(descriptor, b"content")
    yield descriptor
    os.close(descriptor)


def test_messages_come_in_order_with_their_descriptors(channel: Make, file: int) -> None:
    ours, end = channel()
    theirs = Channel(end)
    theirs.send(SAID, number=1)
    theirs.send(TURNED, number=2, descriptors=(file, file))
    theirs.send(SAID, number=3)
    theirs.close()
    found = list(ours.messages())
    assert [(message, number, len(descriptors)) for message, number, descriptors in found] == [
        (SAID, 1, 0), (TURNED, 2, 2), (SAID, 3, 0)
    ]  # fmt: skip
    for descriptor in found[1][2]:
        assert os.pread(descriptor, 10, 0) == b"content"
        os.close(descriptor)
    with pytest.raises(ClosedError):
        ours.fetch()


def test_a_message_is_taken_when_its_last_byte_has_come(channel: Make) -> None:
    ours, theirs = channel()
    line = encode(TURNED, number=7)
    for byte in line:
        assert ours.take() is None
        theirs.send(bytes([byte]))
        ours.fetch()
    assert ours.take() == (TURNED, 7, [])
    assert ours.take() is None


def test_a_message_longer_than_any_buffer_arrives_whole_with_its_descriptors(channel: Make, file: int) -> None:
    ours, end = channel()
    long = Failed(status=Status.ERROR, reason="x" * 2**22)
    thread = threading.Thread(target=Channel(end).send, args=(long,), kwargs={"descriptors": (file,)})
    thread.start()
    while (found := ours.take()) is None:
        ours.fetch()
    thread.join()
    message, _, (descriptor,) = found
    assert message == long
    assert os.pread(descriptor, 10, 0) == b"content"
    os.close(descriptor)


def test_a_line_without_end_is_garbled(channel: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "_LONGEST_LINE", 1000)
    ours, theirs = channel()
    theirs.send(b"x" * 1000)
    ours.fetch()
    theirs.send(b"x")
    with pytest.raises(GarbledError, match="a line of more than 1000 bytes"):
        ours.fetch()


@pytest.mark.parametrize("claimed", [1, -1])
def test_a_message_without_its_descriptors_is_garbled(channel: Make, claimed: int) -> None:
    ours, theirs = channel()
    theirs.send(encode(SAID, descriptors=claimed))
    ours.fetch()
    with pytest.raises(GarbledError, match="without its descriptors"):
        ours.take()


def test_nothing_is_taken_from_an_end_that_is_not_trusted(channel: Make, file: int) -> None:
    ours, theirs = channel(trusted=False)
    known = _descriptors()
    Channel(theirs).send(SAID, descriptors=(file,))
    ours.fetch()
    with pytest.raises(GarbledError, match="without its descriptors"):
        ours.take()
    assert _descriptors() == known


def _descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the one it is read through is among them every time


def test_whoever_is_gone_cannot_be_told(channel: Make) -> None:
    ours, theirs = channel()
    theirs.close()
    with pytest.raises(ClosedError):
        ours.send(SAID)
    ours.close()
    ours.close()


def test_files_in_memory_are_not_handed_to_programs_that_a_backend_starts() -> None:
    with closing(os.fdopen(memory_file(), "rb")) as opened:
        assert not os.get_inheritable(opened.fileno())
