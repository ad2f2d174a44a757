"""The JSON schema of exported documents: made from the dataclasses, described by the docstrings under their fields."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Collection
from dataclasses import fields, is_dataclass
from enum import StrEnum
from itertools import pairwise
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from attnbench.comparison.definitions import Comparison, Verdict
from attnbench.comparison.noise import Noise
from attnbench.core.record import Environment, Status
from attnbench.exports.documents import SCHEMA_VERSION
from attnbench.exports.results import ComparisonResults
from attnbench.report.noise_table import NoiseRow
from attnbench.results.table import COLUMNS, DESCRIPTIONS, PROBLEM

Schema = dict[str, Any]
_FINGERPRINT = ("device_name", "device_memory_bytes", "cpu_name", "cores", "threads", "cache", "launch", "allocator")
"""Fields of an environment that its fingerprint repeats."""
_TEXT, _NUMBER, _COUNT, _TRUTH = ({"type": name} for name in ("string", "number", "integer", "boolean"))
_SCALARS = {str: _TEXT, float: _NUMBER, int: _COUNT, bool: _TRUTH}


def json_schema() -> Schema:
    """The schema (draft 2020-12) of all documents, told apart by ``kind``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "attnbench run, comparison or A/A test",
        "oneOf": [_run(), _comparison(), _noise()],
    }


def _run() -> Schema:
    environment = _described(_or_null(_environment()), "The machine and what was installed; null if it was not kept.")
    cells = _described({"type": "array", "items": _cell()}, "A cell each: one problem on one backend.")
    return _document("run", "A run.", {"environment": environment, "cells": cells})


def _comparison() -> Schema:
    derived = {
        name: _property(Comparison, name) for name in ("outcome", "failed", "compared", "not_measured", "counts")
    }
    # Documents hold zeros, too.
    derived["counts"] |= _object({verdict: _described(_COUNT, f"Cells that are {verdict}.") for verdict in Verdict})
    summary = {"summary": _property(ComparisonResults, "summary")}
    return _document("comparison", "A verdict per cell.", {**summary, **derived, **_properties(Comparison)})


def _noise() -> Schema:
    cells = _described({"type": "array", "items": _object(_properties(NoiseRow))}, "A cell each, the noisiest first.")
    head = _properties(Noise, only=("suite", "device", "started_at", "unmeasured"))
    fail_above = _described(_NUMBER, "The ratio from which attnbench ab fails.")
    return _document(
        "noise", "An A/A test.", {**head, "fingerprint": _fingerprint(), "fail_above": fail_above, "cells": cells}
    )


def _document(kind: str, description: str, properties: Schema) -> Schema:
    head = {
        "schema_version": _described({"const": SCHEMA_VERSION}, "Version of this document."),
        "kind": _described({"const": kind}, "What this document is."),
    }
    return _described(_object({**head, **properties}), description)


def _environment() -> Schema:
    own = _properties(Environment)
    return _object(
        {
            "schema_version": _described(_COUNT, "Version of the stored environment."),
            **own,
            "fingerprint": _fingerprint(),
        }
    )


def _fingerprint() -> Schema:
    own = _properties(Environment)
    labels = _described(_TEXT, "Backends that have an environment of their own, as label=name.")
    found = _object({**{name: own[name] for name in _FINGERPRINT}, "labels": labels})
    return _described(found, "What must be equal for two runs to be comparable.")


def _cell() -> Schema:
    kinds: dict[str, Schema] = {"string": _TEXT, "Int64": _or_null(_COUNT), "Float64": _or_null(_NUMBER)}
    types = {**{name: kinds[kind] for name, kind in COLUMNS.items()}, "status": _of_type(Status)}
    numbers = [name for name, kind in COLUMNS.items() if kind != "string" and name not in PROBLEM]
    return {
        **_object({name: _described(kind, DESCRIPTIONS[name]) for name, kind in types.items()}),
        "if": {"properties": {"status": {"const": Status.OK}}},
        "then": {"properties": {"latency_ms": _NUMBER, "reason": {"const": ""}}},
        "else": {"properties": {name: {"type": "null"} for name in numbers}},
    }


def _properties(declared: type[Any], *, only: Collection[str] = ()) -> Schema:
    """By field of a dataclass, its type and the docstring below it; of all fields, or of some."""
    types, texts = get_type_hints(declared), _docstrings(declared)
    return {
        field.name: _described(_of_type(types[field.name]), texts[field.name])
        for field in fields(declared)
        if not only or field.name in only
    }


def _property(declared: type[Any], name: str) -> Schema:
    getter = getattr(declared, name).fget
    return _described(_of_type(get_type_hints(getter)["return"]), getter.__doc__)


def _docstrings(declared: type[Any]) -> dict[str, str]:
    (body,) = ast.parse(inspect.getsource(declared)).body
    texts = {}
    for statement, below in pairwise(ast.iter_child_nodes(body)):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = text
    return texts


def _of_type(hint: Any) -> Schema:
    arguments = get_args(hint)
    if hint in _SCALARS:
        return _SCALARS[hint]
    if is_dataclass(hint) and isinstance(hint, type):
        return _object(_properties(hint))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"enum": list(hint)}
    if get_origin(hint) is UnionType:  # X | None
        return _or_null(_of_type(arguments[0]))
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _of_type(arguments[0])}
    return {"type": "object", "additionalProperties": _of_type(arguments[1])}  # a dict


def _or_null(schema: Schema) -> Schema:
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    return {**schema, "type": [schema["type"], "null"]}


def _object(properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _described(schema: Schema, text: str) -> Schema:
    """The schema with a docstring's text, in JSON's words."""
    return {"description": re.sub(r"\bNone\b", "null", text.replace("``", "")), **schema}
