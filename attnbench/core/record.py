"""What crosses the pipe between parent and worker and what the journal keeps: plain data and its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from attnbench.core.conditions import Conditions
from attnbench.core.problem import Problem

SCHEMA_VERSION = 2
"""Version of everything stored. Readers refuse a newer one and migrate older ones."""


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
    def excusable(self) -> bool:
        """Whether a machine in trouble may be the reason, so that another attempt is worth something."""
        return self in (Status.OOM, Status.TIMEOUT, Status.CRASHED)


class Flag(StrEnum):
    """What a reader of an ok cell must know; flags never drop data."""

    UNSTABLE = "unstable"
    """Its processes differ so much that the value says little."""
    LAUNCH_BOUND = "launch_bound"
    """On a GPU, launching takes longer than running."""
    THROTTLED = "throttled"
    """The device or the control group was slowed down: power, heat, a quota."""
    CONTENDED = "contended"
    """Others used the device, too."""
    FEW_SAMPLES = "few_samples"
    """Calls so long, or a budget so short, that a process's value rests on few samples."""
    PAGE_FAULTS = "page_faults"
    """On the CPU, memory was taken from the system and given back while it was timed."""
    INTERRUPTED = "interrupted"
    """The process was stopped while it was sampled; those turns were taken again."""


class Cache(StrEnum):
    """What the caches hold before a timed call."""

    COLD = "cold"
    HOT = "hot"


class Launch(StrEnum):
    """How a timed call reaches a GPU."""

    EAGER = "eager"
    """Kernel by kernel, as Python gets to them."""
    GRAPH = "graph"
    """As one CUDA graph, captured before it is timed."""


class Allocator(StrEnum):
    """How the C library keeps memory that is freed."""

    STEADY = "steady"
    """It keeps what it has, so that no call pays for pages."""
    SYSTEM = "system"
    """As the C library does by itself."""


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
    """The same for a backend that timed out in two cases already."""
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
class Ceilings:
    """What the device could do at most when a process was measured: the two numbers of a roofline."""

    bytes_per_s: float
    """Of a large copy; bytes read and bytes written both count."""
    flops_per_s: float
    """Of a large matrix product in the cell's dtype."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Where a cell's seconds went."""

    prepare_s: float = 0.0
    """Preparing the backend and its first call: allocation, compiling."""
    check_s: float = 0.0
    """The reference, and the comparison with it."""
    ceilings_s: float = 0.0
    """Measuring what the device can do; in a process, once for every dtype."""
    profile_s: float = 0.0
    """The passes that find the kernel and the peak of memory."""
    warm_up_s: float = 0.0
    """Calls before the first sample."""
    timed_s: float = 0.0
    """The samples."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """How one cell ended in one process. ``samples_ms`` holds latencies exactly when ``status`` is ok."""

    case: str
    backend: str
    device: str
    problem: Problem
    """What was computed; its pattern is the backend's where the backend always computes one."""
    status: Status
    position: int = 0
    """The cell's place in the suite; measured they are in another order."""
    round: int = 0
    cells: int | None = None
    """Cells of the whole suite: fewer in a journal mean that the run was cut short."""
    reason: str = ""
    """One sentence, exactly when ``status`` is not ok."""
    samples_ms: tuple[float, ...] = ()
    """One latency a sample: its time divided by its calls."""
    turns: tuple[int, ...] = ()
    """Samples of every turn."""
    calls_per_sample: int = 1
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
        if (self.status is Status.OK) == bool(self.reason):
            raise ValueError(f"a reason exists exactly when not ok: {self.status} with reason {self.reason!r}")

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values, with the schema's version."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild what ``to_json`` gave.

        Raises:
            ValueError, TypeError, KeyError: The data is not a record of this version.
        """
        fields = dict(data)
        version = fields.pop("schema_version")
        if version == 1:  # flags are derived since, and conditions were not known then
            fields.pop("flags", None)
            fields |= {"conditions": None, "joules": None}
        elif version != SCHEMA_VERSION:
            raise ValueError(f"schema version {version} (this version reads 1 to {SCHEMA_VERSION})")
        return cls(
            **{
                **fields,
                "problem": Problem.from_json(fields["problem"]),
                "status": Status(fields["status"]),
                "samples_ms": tuple(fields["samples_ms"]),
                "turns": tuple(fields.get("turns", ())),
                "ceilings": Ceilings(**fields["ceilings"]) if fields["ceilings"] else None,
                "conditions": Conditions.from_json(fields["conditions"]) if fields["conditions"] else None,
                "spent": Spent(**fields["spent"]),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The machine a run was measured on, and what was installed there."""

    machine: str
    """A slug of the device's name, never the host's: ``nvidia-h100-80gb-hbm3``, ``amd-epyc-2-cores``."""
    device: str
    device_name: str
    cpu_name: str
    cores: int
    memory_bytes: int
    device_memory_bytes: int | None
    cache_bytes: int
    """Last-level cache: the GPU's L2, or the CPU's."""
    capability: str | None
    """CUDA compute capability."""
    driver: str | None
    cuda: str | None
    """CUDA version torch was built with."""
    python: str
    torch: str
    packages: dict[str, str]
    """Every installed distribution and its version."""
    flags: dict[str, str]
    """torch's global switches that change what is computed or how fast."""
    clocks: dict[str, float]
    """Megahertz, as far as the machine tells."""
    threads: int
    cache: Cache
    launch: Launch = Launch.EAGER
    allocator: Allocator = Allocator.SYSTEM
    participants: dict[str, str] = field(default_factory=dict)
    """By label, the backend and the versions of its environment, for those that have an environment of their own."""
    ceilings: dict[str, Ceilings] = field(default_factory=dict)
    """By dtype, the highest over processes; known when the run is over."""
    commit: str | None
    """Commit of the working directory's repository, with ``+`` where it had changes."""
    started_at: str
    """UTC, ISO 8601."""

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

    def to_json(self) -> dict[str, Any]:
        """The environment as JSON values, with its fingerprint and the schema's version."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self), "fingerprint": self.fingerprint}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild what ``to_json`` gave."""
        fields = {name: value for name, value in data.items() if name not in ("schema_version", "fingerprint")}
        ceilings = {dtype: Ceilings(**found) for dtype, found in fields.get("ceilings", {}).items()}
        launch = Launch(fields.get("launch", Launch.EAGER))
        allocator = Allocator(fields.get("allocator", Allocator.SYSTEM))
        cache = Cache(fields["cache"])
        return cls(**{**fields, "cache": cache, "launch": launch, "allocator": allocator, "ceilings": ceilings})


def fingerprint_mismatch(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Fields in which two fingerprints differ, in words; those that only one of them has are passed over."""
    return [
        f"{name} {before[name]} -> {after[name]}" for name in before if name in after and before[name] != after[name]
    ]
