"""What crosses the sockets and what the journal keeps, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from attnbench.core.conditions import Conditions
from attnbench.core.cost import Cost
from attnbench.core.problem import Problem
from attnbench.core.text import check_time, clean, echoed

SCHEMA_VERSION = 3
"""Version of journals and environments; readers refuse every other."""
_LONGEST_TEXT = 500
"""Characters of what a machine says of itself."""


class Status(StrEnum):
    """How a cell ended: exactly one of these."""

    OK = "ok"
    UNAVAILABLE = "unavailable"
    """The machine cannot run the backend at all."""
    UNSUPPORTED = "unsupported"
    """The backend cannot compute the problem."""
    WRONG_RESULT = "wrong_result"
    """The backend's output or gradients differ from the reference."""
    OOM = "oom"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    """Its process died."""
    ERROR = "error"
    """The backend raised."""

    @property
    def defective(self) -> bool:
        """Whether the backend is wrong or breaks, whatever the machine's size and speed."""
        return self in (Status.WRONG_RESULT, Status.ERROR, Status.CRASHED)

    @property
    def tried(self) -> bool:
        """Whether the backend was asked to compute the problem."""
        return self not in (Status.UNAVAILABLE, Status.UNSUPPORTED)

    @property
    def excusable(self) -> bool:
        """Whether the machine may be the reason, so that the cell is worth another attempt."""
        return self in (Status.OOM, Status.TIMEOUT, Status.CRASHED)


class Flag(StrEnum):
    """What qualifies an ok cell; flags never drop data."""

    UNSTABLE = "unstable"
    """The 95 % interval is wider than +-10 %."""
    LAUNCH_BOUND = "launch_bound"
    """On a GPU, launching takes longer than running."""
    THROTTLED = "throttled"
    """The device or the control group was slowed down: power, heat, a quota."""
    CONTENDED = "contended"
    """Others used the device, too."""
    FEW_SAMPLES = "few_samples"
    """A process has few samples, or little time in them."""
    PAGE_FAULTS = "page_faults"
    """On the CPU, timed calls took memory from the system."""
    INTERRUPTED = "interrupted"
    """The process was stopped while it was sampled; those turns were taken again."""
    IMPLAUSIBLE = "implausible"
    """Faster than the device's ceilings allow, also when they were measured again."""


class Cache(StrEnum):
    """What the caches hold before a timed call."""

    COLD = "cold"
    HOT = "hot"


class Launch(StrEnum):
    """How a timed call reaches a GPU."""

    EAGER = "eager"
    """Kernel by kernel, as Python gets to them."""
    GRAPH = "graph"
    """As one CUDA graph, captured before the timed calls."""


class Allocator(StrEnum):
    """What the C library does with freed memory."""

    STEADY = "steady"
    """It keeps freed memory, so that no call pays for page faults."""
    SYSTEM = "system"
    """The C library's default."""


@dataclass(frozen=True, kw_only=True)
class BackendChoice:
    """A backend as a suite asks for it."""

    label: str
    """What tables call it."""
    name: str
    """A registered name, or ``package.module:Class``."""
    python: str | None = None
    """An environment's directory or interpreter as the suite names it; None for the one that runs attnbench."""

    def __str__(self) -> str:
        """As the command line spells it."""
        label = "" if self.label == self.name else f"{self.label}="
        return f"{label}{self.name}{f'@{self.python}' if self.python else ''}"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How a suite is measured."""

    processes: int = 3
    """Sets of fresh processes, each of which measures every cell once."""
    timeout_s: float = 60.0
    """Deadline for checking and timing one cell."""
    prepare_timeout_s: float = 300.0
    """Deadline for preparing one cell (compiling)."""
    hung_timeout_s: float = 10.0
    """The same for a backend that has timed out in two cases."""
    threads: int = 1
    """CPU threads of a participant."""
    allocator: Allocator = Allocator.STEADY
    cache: Cache | None = None
    """None: cold on a GPU, hot on the CPU."""
    launch: Launch = Launch.EAGER
    max_time_s: float = 2.0
    """Time spent on the samples of one cell in one process."""

    def cache_on(self, device_type: str) -> Cache:
        """What the caches hold before a timed call on that device."""
        return self.cache or (Cache.HOT if device_type == "cpu" else Cache.COLD)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A problem as a suite asks for it."""

    name: str
    problem: Problem
    device: str
    """As torch spells it: ``cpu``, ``cuda:0``."""
    threads: int

    @property
    def device_type(self) -> str:
        """The device without its index."""
        return self.device.partition(":")[0]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What a device can do at most in a second, as measured."""

    per_s: float
    spread: float
    """How far the slowest of several measurements lies below the fastest, as a share of it."""


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """The two ceilings of a roofline, measured on the device in a round (Williams et al. 2009, section 3)."""

    bytes_per_s: float
    """Of a copy; bytes read and bytes written both count."""
    flops_per_s: float
    """Of a large matrix product in the cell's dtype, or in float32 where that is faster."""
    copied_bytes: int | None = None
    """Bytes that the copy moved: as many as the cell's, where the caches are hot. None: more than any cache holds."""
    spread: float = 0.0
    """How well they are known: the larger spread of the two rates."""
    emulated: bool = False
    """Whether the device has no arithmetic in the cell's dtype: its product takes over twice as long as in float32."""

    def __post_init__(self) -> None:
        if not (0 < self.bytes_per_s < math.inf and 0 < self.flops_per_s < math.inf):
            raise ValueError("ceilings must be positive and finite")
        if not (0 <= self.spread < math.inf and (self.copied_bytes is None or self.copied_bytes > 0)):
            raise ValueError("the spread of ceilings must be 0 or more, and what was copied more than 0 bytes")

    def highest(self, other: Ceilings) -> Ceilings:
        """The higher of each rate: of one residency measured twice."""
        return replace(
            self,
            bytes_per_s=max(self.bytes_per_s, other.bytes_per_s),
            flops_per_s=max(self.flops_per_s, other.flops_per_s),
            spread=max(self.spread, other.spread),
            emulated=self.emulated and other.emulated,
        )

    def allowed_ms(self, work: Cost) -> float:
        """The least time in which the device can do some work."""
        return 1e3 * max(work.bytes / self.bytes_per_s, work.flops / self.flops_per_s)


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Where a cell's seconds went."""

    prepare_s: float = 0.0
    """Preparing the backend and its first call: allocation, compiling."""
    check_s: float = 0.0
    """The reference, and the comparison with it."""
    ceilings_s: float = 0.0
    """Measuring the ceilings; in a round, once per dtype and amount of data."""
    profile_s: float = 0.0
    """The calls that find the kernel and the peak memory."""
    warm_up_s: float = 0.0
    """Calls before the first sample."""
    timed_s: float = 0.0
    """The samples."""


_LEAST_MS = 1e-9
"""No call takes less than a picosecond."""
_MOST = 2**63 - 1
"""Tables hold no larger number."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """How one cell ended in one process. ``samples_ms`` holds latencies exactly when ``status`` is ok."""

    case: str
    backend: str
    device: str
    problem: Problem
    """What was computed: a backend that always computes one pattern changes the suite's."""
    status: Status
    position: int = 0
    """The cell's place in the suite; cells are measured in another order."""
    round: int = 0
    cells: int | None = None
    """Cells of the whole suite; a journal with fewer is of an interrupted run."""
    reason: str = ""
    """One sentence, exactly when ``status`` is not ok."""
    samples_ms: tuple[float, ...] = ()
    """One latency a sample; on a CPU that of the fastest of several timed loops, its time divided by its calls."""
    turns: tuple[int, ...] = ()
    """Samples of every turn."""
    calls_per_loop: int = 1
    """On a CPU; on a GPU a sample is one call."""
    calls: int = 0
    """Timed in all."""
    mean_ms: float | None = None
    """Of all timed calls: where it lies far above the samples, something was slow now and then."""
    host_ms: float | None = None
    """On a GPU, time until the call returned to Python; the kernels may still run."""
    peak_bytes: int | None = None
    """Allocated at the peak of one call above what was held before: inputs excluded, output included."""
    max_error: float | None = None
    """Largest absolute difference of the output from the float64 reference."""
    kernel: str = ""
    """The operator torch dispatched to; on a GPU followed by the longest kernel's name."""
    joules: float | None = None
    """Energy of one call, the device's own count; None where it has none."""
    ceilings: Ceilings | None = None
    conditions: Conditions | None = None
    spent: Spent = field(default_factory=Spent)

    @property
    def device_type(self) -> str:
        """The device without its index."""
        return self.device.partition(":")[0]

    def __post_init__(self) -> None:
        if (self.status is Status.OK) != bool(self.samples_ms):
            raise ValueError(f"a latency exists exactly when ok: {self.status} with {len(self.samples_ms)} samples")
        if not all(_LEAST_MS < sample < math.inf for sample in self.samples_ms):
            raise ValueError("samples_ms must be positive and finite")
        if (self.status is Status.OK) == bool(self.reason):
            raise ValueError(f"a reason exists exactly when not ok: {self.status} with reason {self.reason!r}")
        if self.turns and min(self.turns) < 1:
            raise ValueError(f"a turn of {min(self.turns)} samples (allowed: 1 or more)")
        if self.turns and sum(self.turns) != len(self.samples_ms):
            raise ValueError(f"turns of {sum(self.turns)} samples, and there are {len(self.samples_ms)}")
        for name in ("position", "round", "calls", "mean_ms", "host_ms", "peak_bytes", "max_error", "joules"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < _MOST:
                raise ValueError(f"{name} is {echoed(value)} (allowed: 0 or more, below 2^63)")
        if self.calls_per_loop < 1 or (self.cells is not None and self.cells < 1):
            raise ValueError(f"{self.calls_per_loop} calls a loop, {self.cells} cells (allowed: 1 or more)")
        if (self.status is Status.OK) != bool(self.calls and self.mean_ms):
            raise ValueError(f"calls and their mean exist exactly when ok: {self.calls} of {self.mean_ms} ms")

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values, with the schema's version."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The machine a run was measured on, and what was installed there."""

    machine: str
    """A slug of the device's name, never the host's: ``nvidia-h100-80gb-hbm3``, ``amd-epyc-2-cores``."""
    device: str
    """As torch spells it."""
    device_name: str
    """The device's own name."""
    cpu_name: str
    """The processor's name."""
    cores: int
    """Cores that the process may use."""
    memory_bytes: int
    """Memory of the machine."""
    device_memory_bytes: int | None
    """Memory of a GPU; None on a CPU."""
    cache_bytes: int
    """Last-level cache: the GPU's L2, or the CPU's."""
    capability: str | None
    """CUDA compute capability."""
    driver: str | None
    """Version of the GPU's driver; None on a CPU."""
    cuda: str | None
    """CUDA version torch was built with."""
    python: str
    """Version of Python."""
    torch: str
    """Version of torch."""
    packages: dict[str, str]
    """Every installed distribution and its version."""
    flags: dict[str, str]
    """torch's global switches that change what is computed or how fast."""
    clocks: dict[str, float]
    """Megahertz, as far as the machine tells."""
    threads: int
    """CPU threads of a participant."""
    cache: Cache
    """What the caches hold before a timed call."""
    launch: Launch = Launch.EAGER
    """How a timed call reaches a GPU."""
    allocator: Allocator = Allocator.SYSTEM
    """How the C library keeps memory that is freed."""
    participants: dict[str, str] = field(default_factory=dict)
    """By label, the backend and the versions of its environment, for those that have an environment of their own."""
    ceilings: dict[str, tuple[Ceilings, ...]] = field(default_factory=dict)
    """By dtype, for every amount of data that was copied, the highest over rounds; known when the run is over."""
    commit: str | None
    """Commit of the working directory's repository, with ``+`` where it had changes."""
    started_at: str
    """UTC, ISO 8601."""

    def __post_init__(self) -> None:
        check_time("started_at", self.started_at)

    @property
    def fingerprint(self) -> dict[str, str | int | None]:
        """What must be equal for two runs to be comparable. Versions are not in it: they are what one compares."""
        return {
            "device_name": self.device_name,
            "device_memory_bytes": self.device_memory_bytes,
            "cpu_name": self.cpu_name,
            "cores": self.cores,
            "threads": self.threads,
            "cache": self.cache,
            "launch": self.launch,
            "allocator": self.allocator,
            "labels": ", ".join(f"{label}={found.partition(' ')[0]}" for label, found in self.participants.items()),
        }

    def plain(self) -> Environment:
        """The same in text that can be shown anywhere: drivers and packages say what they like of themselves."""
        changed: dict[str, Any] = {
            one.name: clean(value, longest=_LONGEST_TEXT)
            for one in fields(self)
            if isinstance(value := getattr(self, one.name), str) and not isinstance(value, StrEnum)
        }
        changed |= {
            name: {
                clean(key, longest=_LONGEST_TEXT): clean(value, longest=_LONGEST_TEXT)
                for key, value in getattr(self, name).items()
            }
            for name in ("packages", "flags", "participants")
        }
        return replace(self, **changed)

    def to_json(self) -> dict[str, Any]:
        """The environment as JSON values, with its fingerprint and the schema's version."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self), "fingerprint": self.fingerprint}


def fingerprint_mismatch(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Fields in which two fingerprints differ, in words; fields that only one of them has are ignored."""
    return [
        f"{name} {before[name]} -> {after[name]}" for name in before if name in after and before[name] != after[name]
    ]
