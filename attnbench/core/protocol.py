"""What the parent and its processes say to each other: one dataclass a message. They cross a ``Channel``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from attnbench.core.conditions import Conditions, GpuSettings
from attnbench.core.problem import Dtype, Pattern, Problem
from attnbench.core.record import Cache, Environment, Launch, Measure, Rate, Status

LONGEST_REASON = 2000
"""Characters of a reason; the rest is cut."""


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
    path: str
    """A directory that comes first on its Python path; empty for none."""


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
    """A change of the inputs (``worker.variation``): the judge knows what they must give then."""

    signs: int = 0
    """Seed of the signs of the values' channels; 0 leaves them as they are."""
    roll: int = 0
    """How many images, or rows of windows, the map is rolled by."""
    move: int = 0
    """How many numbers the map is rolled by as if it were one row of them: nothing of its outputs was known before."""


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
    is_checked: bool = True
    """Whether the outcome is wanted, and will be once more after a second call; else nothing is told of it."""


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
    """Inputs that the participant keeps, and indices by which their windows are made."""
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

    calls_per_loop: int
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
    calls: int
    """Timed calls, of which the samples are the fastest on a CPU."""
    called_s: float
    """In all of them."""
    timed_s: float
    """In them, and in what overwrites the cache between them."""
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


class Shown(StrEnum):
    """Which output."""

    TIMED = "timed"
    """Of a timed call of the last turn: on a CPU the last one of its fastest loop."""
    FASTEST = "fastest"
    """On a CPU, the same of the turn with the fastest sample of all, the first of several."""
    FRESH = "fresh"
    """Of the call on new values after the last turn."""


@dataclass(frozen=True, kw_only=True)
class Show:
    """Asks for an output."""

    what: Shown


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
class MeasureCopy:
    """Asks the judge how fast the device can move data now."""

    moved_bytes: int | None
    """Read and written together; None for more than any cache holds."""
    cache_bytes: int


@dataclass(frozen=True, kw_only=True)
class MeasureProduct:
    """Asks the judge how fast the device can multiply matrices now."""

    dtype: Dtype


@dataclass(frozen=True, kw_only=True)
class RateMeasured:
    """None: there was no room."""

    rate: Rate | None


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Asks the judge to watch the machine from now on."""

    threads: int
    participants: tuple[int, ...] = ()
    """Their processes: on a GPU these are no strangers."""


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
    | Verdict | MeasureCopy | MeasureProduct | RateMeasured | Watch | Watching | Unwatch | Watched | CountEnergy
    | EnergyCounted
)  # fmt: skip


def unexpected(reply: Message) -> str:
    """What to say of a reply that is not the one that was due."""
    return reply.reason if isinstance(reply, Failed) else f"it answered {type(reply).__name__}"
