"""What a suite may say, checked by pydantic: the only place where it is used."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from attnbench.core.problem import DEFAULT_HEAD_DIM, Bias, Dtype, Mode, Padding, Pattern, Scope
from attnbench.core.record import Allocator, BackendChoice, Cache, Launch, Measure
from attnbench.core.shipped_backends import GROUPS
from attnbench.core.text import echoed

Size = tuple[int, int]
LARGEST = 2**31 - 1
"""No count is larger; what fits into memory is decided when it is measured."""


def parse_count(value: Any) -> int:
    """A whole number of at least 1."""
    # Exactly int: True is not a count, and YAML reads 0x14 as a hexadecimal number.
    if type(value) is not int or value < 1:
        raise ValueError(f"{echoed(value)} is not allowed (allowed: a whole number, 1 or more)")
    if value > LARGEST:
        raise ValueError(f"{value} is not allowed (allowed: up to {LARGEST})")
    return int(value)


def parse_size(value: Any) -> Size:
    """56, or ``200x334``: height and width in tokens."""
    sides = re.fullmatch(r"([1-9][0-9]*)x([1-9][0-9]*)", value) if isinstance(value, str) else None
    if sides:
        return parse_count(int(sides[1])), parse_count(int(sides[2]))
    if type(value) is int and value >= 1:
        return parse_count(value), value
    raise ValueError(f"{echoed(value)} is not allowed (allowed: 1 or more, as 56 or as 200x334)")


def _parse_member(kind: type[StrEnum]) -> Callable[[Any], StrEnum]:
    def parse(value: Any) -> StrEnum:
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"{echoed(value)} is not allowed (allowed: {', '.join(kind)})") from None

    return parse


def _parse_values(parse: Callable[[Any], Hashable], given: Any) -> tuple[Any, ...]:
    if given is None or given == []:
        raise ValueError("there is no value; give one, or a list of at least one")
    if isinstance(given, dict):  # pydantic reports ValueError alone
        raise ValueError(  # noqa: TRY004
            f"{echoed(given)} is a mapping; give one value, or a list of values"
        )
    return tuple(dict.fromkeys(parse(value) for value in (given if isinstance(given, list) else [given])))


def _listed(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "array", "items": schema, "minItems": 1}]}


def _values(parse: Callable[[Any], Hashable]) -> BeforeValidator:
    """Makes a field take one value or a list of values to sweep."""
    return BeforeValidator(partial(_parse_values, parse))


def _enum_schema(kind: type[StrEnum]) -> WithJsonSchema:
    return WithJsonSchema(_listed({"enum": [str(member) for member in kind]}))


_COUNT_SCHEMA: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": LARGEST}
_SIZE_SCHEMA: dict[str, Any] = {"anyOf": [_COUNT_SCHEMA, {"type": "string", "pattern": "^[1-9][0-9]*x[1-9][0-9]*$"}]}
Counts = Annotated[tuple[int, ...], _values(parse_count), WithJsonSchema(_listed(_COUNT_SCHEMA))]
Sizes = Annotated[tuple[Size, ...], _values(parse_size), WithJsonSchema(_listed(_SIZE_SCHEMA))]
Dtypes = Annotated[tuple[Dtype, ...], _values(_parse_member(Dtype)), _enum_schema(Dtype)]
Modes = Annotated[tuple[Mode, ...], _values(_parse_member(Mode)), _enum_schema(Mode)]
Patterns = Annotated[tuple[Pattern, ...], _values(_parse_member(Pattern)), _enum_schema(Pattern)]
Paddings = Annotated[tuple[Padding, ...], _values(_parse_member(Padding)), _enum_schema(Padding)]
Biases = Annotated[tuple[Bias, ...], _values(_parse_member(Bias)), _enum_schema(Bias)]
Scopes = Annotated[tuple[Scope, ...], _values(_parse_member(Scope)), _enum_schema(Scope)]


class _Mapping(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


@dataclass(frozen=True, kw_only=True)
class BatchByDevice:
    """A batch that differs by device, because a CPU would take minutes for what fills a GPU."""

    cpu: tuple[int, ...]
    cuda: tuple[int, ...]


def _parse_batch(given: Any) -> BatchByDevice | tuple[Any, ...]:
    if not isinstance(given, dict):
        return _parse_values(parse_count, given)
    devices = [field.name for field in fields(BatchByDevice)]
    for name in given:
        if name not in devices:
            raise ValueError(f"{echoed(name)} is not a device (allowed: {', '.join(devices)})")
    for name in devices:
        if name not in given:
            raise ValueError(f"there is no batch for {name}; give one for each of {', '.join(devices)}")
    return BatchByDevice(**{name: _parse_values(parse_count, given[name]) for name in devices})


_BATCH_SCHEMA = {
    "anyOf": [
        *_listed(_COUNT_SCHEMA)["anyOf"],
        {
            "type": "object",
            "properties": {"cpu": _listed(_COUNT_SCHEMA), "cuda": _listed(_COUNT_SCHEMA)},
            "required": ["cpu", "cuda"],
            "additionalProperties": False,
        },
    ]
}
Batches = Annotated[Any, BeforeValidator(_parse_batch), WithJsonSchema(_BATCH_SCHEMA)]


class Fields(_Mapping):
    """The fields of problems; each takes one value, or a list of values whose combinations are all meant."""

    batch: Batches = Field((1,), description="Images; {cpu: 4, cuda: 64} where it differs by device.")
    resolution: Sizes = Field(description="The map in tokens: 56, or 200x334 (height x width).")
    window: Sizes = Field(description="Tokens of a window: 7, or 7x14 (k1 x k2).")
    heads: Counts
    head_dim: Counts = (DEFAULT_HEAD_DIM,)
    dtype: Dtypes = (Dtype.FLOAT32,)
    mode: Modes = Field((Mode.FORWARD,), description="forward runs without autograd.")
    pattern: Patterns = Field((Pattern.GROUPED,), description="shifted: Swin's cyclic shift by window // 2.")
    padding: Paddings = Field((Padding.ZERO,), description="masked: padded tokens take no part in the softmax.")
    bias: Biases = Field((Bias.NONE,), description="relative: a learned relative position bias.")
    scope: Scopes = Field((Scope.MAP,), description="What is inside the timed call.")


_UNSEEN = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Characters that break a line, or that nobody sees: control and bidirectional ones."""


class CaseEntry(Fields):
    """An entry of ``cases``."""

    name: str | None = Field(None, pattern=rf"^[^\s{_UNSEEN}][^{_UNSEEN}]*$", max_length=200)


class Exclusion(_Mapping):
    """Leaves out every problem whose fields equal all of those given here."""

    batch: Counts = ()
    resolution: Sizes = ()
    window: Sizes = ()
    heads: Counts = ()
    head_dim: Counts = ()
    dtype: Dtypes = ()
    mode: Modes = ()
    pattern: Patterns = ()
    padding: Paddings = ()
    bias: Biases = ()
    scope: Scopes = ()

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("an empty entry excludes nothing; name at least one field")
        return self


_DEFAULT = Measure()
_Count = Annotated[int, Field(ge=1, le=1000)]
_Seconds = Annotated[float, Field(gt=0, le=86_400)]
_AsText = Field(strict=False)
"""An enumeration whose values a suite spells as text."""


class MeasureEntry(_Mapping):
    """How a suite is measured."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    processes: _Count = _DEFAULT.processes
    """Sets of fresh processes, each of which measures every cell once."""
    timeout_s: _Seconds = _DEFAULT.timeout_s
    """Deadline for checking and timing a cell."""
    prepare_timeout_s: _Seconds = _DEFAULT.prepare_timeout_s
    """Deadline for preparing a cell."""
    hung_timeout_s: _Seconds = _DEFAULT.hung_timeout_s
    """The same for a backend that timed out in two cases; as long as prepare_timeout_s to insist."""
    threads: _Count = _DEFAULT.threads
    """CPU threads of a participant."""
    allocator: Annotated[Allocator, _AsText] = _DEFAULT.allocator
    """steady: the C library keeps freed memory, so that no timed call pays for pages."""
    cache: Annotated[Cache, _AsText] | None = None
    """By default cold on a GPU, hot on the CPU."""
    launch: Annotated[Launch, _AsText] = _DEFAULT.launch
    """graph: every call is captured in a CUDA graph before it is timed."""
    max_time_s: _Seconds = _DEFAULT.max_time_s
    """Time for the samples of a cell in a process."""

    @model_validator(mode="after")
    def _leaves_time_to_check(self) -> Self:
        if self.max_time_s >= self.timeout_s:
            raise ValueError(f"max_time_s {self.max_time_s:g} must be less than timeout_s {self.timeout_s:g}")
        return self

    def measure(self) -> Measure:
        """As the plain data the rest works with."""
        return Measure(**dict(self))


class BackendEntry(_Mapping):
    """A backend, perhaps in an environment of its own."""

    name: str = Field(min_length=1, description="A name, or package.module:Class.")
    python: str | None = Field(
        None,
        min_length=1,
        description="A virtual environment or an interpreter with torch, beside the suite's file; by default this one.",
    )
    label: str | None = Field(
        None,
        pattern=rf"^[^\s=@{_UNSEEN}][^=@{_UNSEEN}]*$",
        max_length=200,
        description="What tables call it; by default its name.",
    )

    def choices(self) -> list[BackendChoice]:
        """As the plain data the rest works with: one backend, or those of a group."""
        if self.model_fields_set == {"name"}:
            return [BackendChoice(label=name, name=name) for name in GROUPS.get(self.name, (self.name,))]
        return [BackendChoice(label=self.label or self.name, name=self.name, python=self.python)]


def _parse_backend(given: Any) -> Any:
    if isinstance(given, str):
        return {"name": given}
    if not isinstance(given, dict):
        raise ValueError(  # noqa: TRY004 - pydantic reports ValueError alone
            f"{echoed(given)} is not allowed (allowed: a name, or a mapping of name, python, label)"
        )
    return given


_NAME_SCHEMA = {"type": "string", "minLength": 1, "examples": [*GROUPS, *GROUPS["all"]]}
_BACKEND_SCHEMA = {"anyOf": [_NAME_SCHEMA, BackendEntry.model_json_schema()]}
Backend = Annotated[BackendEntry, BeforeValidator(_parse_backend)]
Backends = Annotated[
    list[Backend] | None,
    BeforeValidator(lambda given: [given] if isinstance(given, str | dict) else given),
    WithJsonSchema({"anyOf": [*_listed(_BACKEND_SCHEMA)["anyOf"], {"type": "null"}]}),
]


class SuiteFile(_Mapping):
    """An attnbench suite: which problems to measure on which backends."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Names the directory of its runs.")
    description: str = Field("", description="The question the suite answers.")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$", description="auto, cpu, cuda, cuda:1")
    baseline: str | None = Field(None, description="The backend that speed-ups refer to; by default the first one.")
    sweep: Fields | None = Field(None, description="All combinations of these values.")
    cases: list[CaseEntry] = Field([], description="Problems besides or instead of a sweep.")
    exclude: list[Exclusion] = Field([], description="Problems to leave out.")
    only: Annotated[list[str], BeforeValidator(lambda given: [given] if isinstance(given, str) else given)] = Field(
        [], description="The cases to run, by name or pattern (stage 1*); one or a list. By default all."
    )
    backends: Backends = Field(
        None,
        min_length=1,
        description="Names, groups (all, cpu, fused), package.module:Class, or {name, python, label}; one or a list. "
        "By default all that are installed.",
    )
    measure: MeasureEntry = MeasureEntry()


def json_schema() -> dict[str, Any]:
    """The JSON schema of suites, for editors."""
    schema = SuiteFile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "attnbench suite", **schema}
