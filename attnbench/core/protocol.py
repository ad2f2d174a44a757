"""What the parent and its processes say to each other: one JSON object a line, checked when it is read.

File descriptors travel beside the lines that mention them. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import math
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from attnbench.core.conditions import Conditions, GpuSettings
from attnbench.core.errors import AttnbenchError
from attnbench.core.problem import Dtype, Pattern, Problem
from attnbench.core.record import Cache, Ceilings, Environment, Launch, Measure, Status

LONGEST_REASON = 2000
"""Characters of a reason; the rest is cut."""
_LONGEST_LINE = 2**26
_CHUNK = 2**18
_MOST_DESCRIPTORS = 4


# --- to and from the starter


@dataclass(frozen=True, kw_only=True)
class Begin:
    """Asks a starter to get ready."""

    modules: tuple[str, ...]
    """What every participant will need of torch: imported once, before the first fork."""


@dataclass(frozen=True, kw_only=True)
class Fork:
    """Asks a starter for a participant. With it come the participant's socket and the file it prints to."""

    number: int


@dataclass(frozen=True, kw_only=True)
class End:
    """Asks a starter to kill a participant and everything it started."""

    number: int


@dataclass(frozen=True, kw_only=True)
class Started:
    """A starter has imported torch."""

    forks: bool
    """Whether participants are forks of it; else each is a fresh interpreter."""


@dataclass(frozen=True, kw_only=True)
class Forked:
    """A participant runs."""

    number: int
    pid: int


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """A participant was stopped, as by SIGSTOP."""

    number: int


@dataclass(frozen=True, kw_only=True)
class Continued:
    """A stopped participant goes on."""

    number: int


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A participant is gone, and with it all it had started."""

    number: int
    code: int
    """Its exit code; the signal that killed it where negative."""


# --- to and from anyone that imports torch


@dataclass(frozen=True, kw_only=True)
class Describe:
    """Asks what the machine and the environment are."""

    device: str
    """``auto``, or as torch spells it."""
    measure: Measure


@dataclass(frozen=True, kw_only=True)
class Described:
    """The answer to ``Describe``."""

    environment: Environment
    device_id: str
    """What tells the device from every other of this machine."""
    gpu: GpuSettings | None = None
    torch_is_debug_build: bool = False


@dataclass(frozen=True, kw_only=True)
class Refused:
    """What was asked for cannot be: one sentence."""

    message: str
    key: tuple[str, ...] = ("device",)
    """The suite's key at fault."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """Why something could not be done."""

    status: Status
    reason: str


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """Where tensors lie in a file of raw bytes."""

    names: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    offsets: tuple[int, ...] = ()
    """Bytes from the file's start."""
    size: int = 0
    """Bytes of the file."""


@dataclass(frozen=True, kw_only=True)
class Variation:
    """A change of the inputs that changes the outputs in a known way (``worker.variation``)."""

    signs: int = 0
    """Seed of the signs of the values' channels; 0 leaves them as they are."""
    roll: int = 0
    """How many images, or rows of windows, the map is rolled by."""


# --- to and from a participant


@dataclass(frozen=True, kw_only=True)
class Introduce:
    """Asks a participant to load its backend."""

    backend: str
    device: str
    threads: int


@dataclass(frozen=True, kw_only=True)
class Introduced:
    """What a backend is before it sees a problem."""

    unavailable: str | None = None
    pattern: Pattern | None = None
    invalid: str | None = None
    """Why the name leads to no backend: a mistake in the suite."""
    file: str | None = None
    """Where its class was read from."""


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Asks why the backend cannot compute some problems."""

    problems: tuple[Problem, ...]


@dataclass(frozen=True, kw_only=True)
class Explained:
    """The reasons, problem by problem; an empty one where it can."""

    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Asks for a prepared call and the outcome of its first call. With it come the inputs and a file for outputs."""

    problem: Problem
    launch: Launch
    inputs: Tensors


@dataclass(frozen=True, kw_only=True)
class CallAgain:
    """Asks for the outcome of a call with changed inputs, and for the first outcome as it is now."""

    variation: Variation


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a call gave; the tensors lie in the file for outputs."""

    tensors: Tensors
    modified: bool = False
    """Whether the input is no longer what it was."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Asks for one profiled call."""


@dataclass(frozen=True, kw_only=True)
class Profiled:
    """What one call did besides taking time."""

    peak_bytes: int
    held_bytes: int
    """Inputs that the participant keeps."""
    kernel: str


@dataclass(frozen=True, kw_only=True)
class WarmUp:
    """Asks to call until a sample means something."""

    cache: Cache
    cache_bytes: int
    settle: bool
    """Whether to go on until a GPU's clock is steady."""


@dataclass(frozen=True, kw_only=True)
class WarmedUp:
    """A participant can be sampled."""

    calls_per_sample: int
    expected_s: float
    """What a turn should take."""


@dataclass(frozen=True, kw_only=True)
class TakeTurn:
    """Asks for samples."""

    variation: Variation
    budget_s: float
    afterwards: Variation | None = None
    """How to change the inputs after the samples, to time one call on values that it has not seen."""


@dataclass(frozen=True, kw_only=True)
class Turned:
    """What a participant says of its turn."""

    samples_ms: tuple[float, ...]
    timed_s: float
    """Time in timed calls and in what overwrites the cache between them."""
    fresh_ms: float | None
    """The call on new values, where it was asked for."""
    whole_s: float
    """From the question to the answer."""
    page_faults: int
    """While it was timed."""
    involuntary_switches: int
    host_ms: float | None = None
    late_s: float = 0.0
    """On a GPU, time that it went on working after the last timed call had ended."""


@dataclass(frozen=True, kw_only=True)
class Show:
    """Asks for what the last timed call of the last turn gave."""


@dataclass(frozen=True, kw_only=True)
class KeepCalling:
    """Asks to call without a pause for some time, while somebody else looks at the device."""

    seconds: float


@dataclass(frozen=True, kw_only=True)
class Called:
    """How often, by the clock that all processes share."""

    times_s: tuple[float, ...]
    calls: tuple[int, ...]
    """Finished until then."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """Asks to forget the case, with all its memory."""


@dataclass(frozen=True, kw_only=True)
class Released:
    """It is forgotten."""


# --- to and from the judge


@dataclass(frozen=True, kw_only=True)
class Expect:
    """Asks the judge for a problem's inputs; it keeps what they must give."""

    problem: Problem


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Inputs, in the file that comes with this."""

    inputs: Tensors
    rolls: int
    """By how many different amounts the inputs can be rolled."""
    free_bytes: int
    """Memory of the device that nobody has."""


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Asks the judge whether outputs are right. With it comes the file they lie in."""

    problem: Problem
    variation: Variation
    tensors: Tensors
    timed: bool = False
    """Whether a timed call gave them: in mode forward_backward the gradients alone."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the judge says."""

    max_error: float
    """Largest absolute difference of the output."""
    reason: str
    """The first disagreement; empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class MeasureCeilings:
    """Asks the judge what the device can do now."""

    dtype: Dtype
    cache_bytes: int


@dataclass(frozen=True, kw_only=True)
class CeilingsMeasured:
    """None: there was no room."""

    ceilings: Ceilings | None


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Asks the judge to watch the machine from now on."""

    threads: int


@dataclass(frozen=True, kw_only=True)
class Watching:
    """It does."""


@dataclass(frozen=True, kw_only=True)
class Unwatch:
    """Asks what the machine did since ``Watch``."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What the machine did, all processes of this run included."""

    conditions: Conditions


@dataclass(frozen=True, kw_only=True)
class CountEnergy:
    """Asks the judge for the energy that the device takes between two steps of its counter."""


@dataclass(frozen=True, kw_only=True)
class EnergyCounted:
    """None where the device does not count."""

    joules: float | None
    began_s: float = 0.0
    ended_s: float = 0.0
    """By the clock that all processes share."""


Message = (
    Begin | Fork | End | Started | Forked | Stopped | Continued | Ended | Describe | Described | Refused | Failed
    | Introduce | Introduced | Explain | Explained | Prepare | CallAgain | Outcome | Profile | Profiled | WarmUp
    | WarmedUp | TakeTurn | Turned | Show | KeepCalling | Called | Release | Released | Expect | Expected | Verify
    | Verdict | MeasureCeilings | CeilingsMeasured | Watch | Watching | Unwatch | Watched | CountEnergy | EnergyCounted
)  # fmt: skip


def unexpected(reply: Message) -> str:
    """What to say of a reply that is not the one that was due."""
    return reply.reason if isinstance(reply, Failed) else f"it answered {type(reply).__name__}"


_KINDS: dict[str, type] = {kind.__name__: kind for kind in get_args(Message)}


class GarbledError(ValueError):
    """A line that is no message, or not the one that was due."""


class ClosedError(ConnectionError):
    """The other end is closed."""


def encode(message: Message, *, number: int = 0, descriptors: int = 0) -> bytes:
    """One line of JSON."""
    kind = type(message).__name__
    line = {"kind": kind, "number": number, "descriptors": descriptors, "message": vars(message)}
    return json.dumps(line, default=vars).encode() + b"\n"  # asdict would take three times as long


def decode(line: bytes) -> tuple[Message, int, int]:
    """What ``encode`` was given: the message, its number and how many descriptors belong to it.

    Raises:
        GarbledError: It is no message.
    """
    try:
        data = json.loads(line)
        number, descriptors = read(int, data["number"]), read(int, data["descriptors"])
        return read(_KINDS[data["kind"]], data["message"]), number, descriptors
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, AttnbenchError) as error:
        raise GarbledError(" ".join(str(error).split())[:200]) from None


def read(kind: Any, value: Any) -> Any:
    """A value of a type from its JSON.

    Args:
        kind: A dataclass, an enumeration, a number, text, or tuples, mappings and unions of these.
        value: As ``json.loads`` gives it.

    Raises:
        ValueError: It is of another type.
    """
    return _reader(kind)(value)


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """Reads values of a type: to look at the type again for every value would take three times as long."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        some = _reader(next(one for one in arguments if one is not NoneType))
        return (lambda value: None if value is None else some(value)) if NoneType in arguments else some
    if origin is tuple:
        each = _reader(arguments[0])
        return lambda value: tuple([each(one) for one in _checked(value, list)])
    if origin is dict:
        name, each = map(_reader, arguments)
        return lambda value: {name(key): each(one) for key, one in _checked(value, dict).items()}
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    if issubclass(kind, StrEnum):
        return kind
    return _read_float if kind is float else lambda value: _checked(value, kind)


def _dataclass_reader(kind: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}

    def read_dataclass(value: Any) -> Any:
        if unknown := _checked(value, dict).keys() - readers.keys():
            raise ValueError(f"{kind.__name__} has no field {min(unknown)!r:.80}")
        return kind(**{name: readers[name](one) for name, one in value.items()})

    return read_dataclass


def _read_float(value: Any) -> float:
    number = float(value) if type(value) is int else value
    if not math.isfinite(_checked(number, float)) and number != math.inf:
        raise ValueError("not a number")
    return number


def _checked(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{value!r:.80} is not of type {kind.__name__}")
    return value


def memory_file() -> int:
    """A descriptor of a new file in memory, which is gone with the last process that has it open."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("attnbench", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Channel:
    """One end of a socket that messages cross.

    Args:
        end: A stream socket.
        trusted: Whether descriptors are taken from the other end.
    """

    def __init__(self, end: socket.socket, *, trusted: bool = True) -> None:
        self._socket = end
        self._trusted = trusted
        self._buffer = bytearray()
        self._searched = 0
        self._descriptors: list[int] = []

    def fileno(self) -> int:
        """For ``select``."""
        return self._socket.fileno()

    def send(self, message: Message, *, number: int = 0, descriptors: Sequence[int] = ()) -> None:
        """Send a message, and copies of some descriptors.

        Raises:
            ClosedError: Nobody is there.
        """
        data = memoryview(encode(message, number=number, descriptors=len(descriptors)))
        try:
            if descriptors:
                data = data[socket.send_fds(self._socket, [data], list(descriptors)) :]
            self._socket.sendall(data)
        except OSError as error:
            raise ClosedError(str(error)) from None

    def fetch(self) -> None:
        """Wait for some bytes.

        Raises:
            ClosedError: There will be none.
            GarbledError: There are too many without an end of line.
        """
        try:
            if self._trusted:
                chunk, found, _, _ = socket.recv_fds(self._socket, _CHUNK, _MOST_DESCRIPTORS)
                self._descriptors += found
            else:
                chunk = self._socket.recv(_CHUNK)
        except OSError as error:
            raise ClosedError(str(error)) from None
        if not chunk:
            raise ClosedError("the other end is closed")
        self._buffer += chunk
        if len(self._buffer) > _LONGEST_LINE:
            raise GarbledError(f"a line of more than {_LONGEST_LINE} bytes")

    def take(self) -> tuple[Message, int, list[int]] | None:
        """The next message that has arrived, its number and descriptors; None where there is none.

        Raises:
            GarbledError: It is no message.
        """
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        message, number, count = decode(line)
        if count > len(self._descriptors) or count < 0:
            raise GarbledError("a message without its descriptors")
        taken, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return message, number, taken

    def messages(self) -> Iterator[tuple[Message, int, list[int]]]:
        """Messages as they come, until the other end is closed."""
        while True:
            while (found := self.take()) is not None:
                yield found
            try:
                self.fetch()
            except ClosedError:
                return

    def close(self) -> None:
        """Let go; safe to call twice."""
        self._socket.close()
