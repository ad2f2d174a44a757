"""What parent and worker say to each other, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from attnbench.conditions import GpuSettings
from attnbench.problem import Pattern, Problem
from attnbench.record import Cache, Case, Environment, Launch, Measure, Record


class Stage(StrEnum):
    """What a worker does for a cell, in this order; each stage, and each turn of sampling, has its own deadline."""

    REFERENCE = "reference"
    PREPARE = "prepare"
    MEASURE = "measure"
    SAMPLE = "sample"


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A worker's first words: torch is imported."""


@dataclass(frozen=True, kw_only=True)
class Describe:
    """Asks a worker what its machine and its backends are."""

    device: str
    """``auto``, or as torch spells it."""
    backends: tuple[str, ...]
    measure: Measure


@dataclass(frozen=True, kw_only=True)
class BackendAnswer:
    """What a worker knows of a backend before it sees a problem."""

    name: str
    unavailable: str | None = None
    pattern: Pattern | None = None
    invalid: str | None = None
    """Why the name leads to no backend: a mistake in the suite."""
    file: str | None = None
    """Where its class was read from."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """A worker's answer to ``Describe``."""

    environment: Environment
    backends: tuple[BackendAnswer, ...]
    device_id: str
    """What tells the device from every other of this machine."""
    gpu: GpuSettings | None = None
    torch_is_debug_build: bool = False


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A worker's answer where what was asked for cannot be: one sentence."""

    message: str
    key: tuple[str, ...] = ("device",)
    """The suite's key at fault."""


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Asks why a backend cannot compute some problems."""

    backend: str
    device_type: str
    problems: tuple[Problem, ...]


@dataclass(frozen=True, kw_only=True)
class Explained:
    """The reasons, problem by problem; an empty one where it can."""

    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MeasureCase:
    """Asks for one case on some backends, sampled in turn. Each is answered by a ``Finished`` of its own."""

    case: Case
    backends: tuple[str, ...]
    positions: tuple[int, ...]
    """The cells' places in the suite, backend by backend."""
    block: int
    measure: Measure
    cache: Cache
    cache_bytes: int
    seed: int
    shelf: str
    """A directory for what workers keep for one another; empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class Entered:
    """Says which backend is at work, and what on."""

    backend: str
    stage: Stage
    expected_s: float | None = None
    """What it should take, where that is known: the deadline follows from it."""
    spoken_bytes: int = 0
    """What the worker had printed until then: the rest belongs to whoever is at work now."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A cell's record."""

    record: Record
    spoiled: bool = False
    """Whether the worker gives up, so that what is left of the case needs another one."""


Message = Ready | Describe | Described | Refused | Explain | Explained | MeasureCase | Entered | Finished


def encode(message: Message) -> bytes:
    """One line of JSON."""
    if isinstance(message, Finished):
        fields: dict[str, Any] = {"record": message.record.to_json(), "spoiled": message.spoiled}
    elif isinstance(message, Entered):
        fields = dict(vars(message))  # sent before every sample: asdict would take ten times as long
    elif isinstance(message, Described):
        fields = {**asdict(message), "environment": message.environment.to_json()}
    else:
        fields = asdict(message)
    return json.dumps({"kind": type(message).__name__, **fields}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """What ``encode`` was given."""
    fields = json.loads(line)
    match fields.pop("kind"):
        case "Ready":
            return Ready()
        case "Describe":
            return Describe(**{**fields, "backends": tuple(fields["backends"]), "measure": _measure(fields["measure"])})
        case "Described":
            return Described(
                **{
                    **fields,
                    "environment": Environment.from_json(fields["environment"]),
                    "backends": tuple(_backend_answer(backend) for backend in fields["backends"]),
                    "gpu": GpuSettings.from_json(fields["gpu"]) if fields["gpu"] else None,
                }
            )
        case "Refused":
            return Refused(message=fields["message"], key=tuple(fields["key"]))
        case "Explain":
            return Explain(
                **{**fields, "problems": tuple(Problem.from_json(problem) for problem in fields["problems"])}
            )
        case "Explained":
            return Explained(reasons=tuple(fields["reasons"]))
        case "MeasureCase":
            return _measure_case(fields)
        case "Entered":
            return Entered(**{**fields, "stage": Stage(fields["stage"])})
        case "Finished":
            return Finished(record=Record.from_json(fields["record"]), spoiled=fields["spoiled"])
        case kind:
            raise ValueError(f"unknown message {kind!r}")


def _measure(fields: Mapping[str, Any]) -> Measure:
    cache = Cache(fields["cache"]) if fields["cache"] else None
    return Measure(**{**fields, "cache": cache, "launch": Launch(fields["launch"])})


def _measure_case(fields: Mapping[str, Any]) -> MeasureCase:
    return MeasureCase(
        case=Case(**{**fields["case"], "problem": Problem.from_json(fields["case"]["problem"])}),
        backends=tuple(fields["backends"]),
        positions=tuple(fields["positions"]),
        block=fields["block"],
        measure=_measure(fields["measure"]),
        cache=Cache(fields["cache"]),
        cache_bytes=fields["cache_bytes"],
        seed=fields["seed"],
        shelf=fields["shelf"],
    )


def _backend_answer(fields: Mapping[str, Any]) -> BackendAnswer:
    return BackendAnswer(**{**fields, "pattern": Pattern(fields["pattern"]) if fields["pattern"] else None})
