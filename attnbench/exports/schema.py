"""The JSON schema of documents: every field with its meaning, and no field besides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnbench.comparison.verdict import Verdict
from attnbench.core.record import Status
from attnbench.exports import descriptions
from attnbench.exports.json_document import COMPARISON, RUN, SCHEMA_VERSION
from attnbench.results.table import COLUMNS

Schema = dict[str, Any]
_TEXT, _NUMBER, _COUNT, _TRUTH = ({"type": name} for name in ("string", "number", "integer", "boolean"))
_NOTHING: Schema = {"type": "null"}
_TEXTS = {"type": "array", "items": _TEXT}
_NO_NUMBER, _NO_COUNT, _NO_TEXT = ({"type": [name, "null"]} for name in ("number", "integer", "string"))
_STATUS, _NO_STATUS = {"enum": list(Status)}, {"enum": [*Status, None]}
_OF_COLUMN: dict[str, Schema] = {"string": _TEXT, "Int64": _NO_COUNT, "Float64": _NO_NUMBER}
_ALWAYS = ("batch", "height", "width", "window_height", "window_width", "heads", "head_dim")
"""Numbers that a cell has however it ended."""


def json_schema() -> Schema:
    """The schema (draft 2020-12) of both documents, told apart by ``kind``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "attnbench run or comparison",
        "oneOf": [_run(), _comparison()],
    }


def _run() -> Schema:
    environment = {**_environment(), "type": ["object", "null"]}
    run = {
        "environment": _said(environment, "The machine and what was installed; null where nobody kept it."),
        "cells": _said({"type": "array", "items": _cell()}, "A cell each: one problem on one backend."),
    }
    return _document(RUN, "A run.", run)


def _comparison() -> Schema:
    types: dict[str, Schema] = {
        "summary": _TEXT,
        "failed": _TRUTH,
        "compared": _COUNT,
        "not_measured": _COUNT,
        "counts": _object({verdict: _said(_COUNT, f"Cells that are {verdict}.") for verdict in Verdict}),
        **dict.fromkeys(("suite", "device", "base", "candidate", "method", "not_compared_reason"), _TEXT),
        "cells": {"type": "array", "items": _verdict()},
        "fail_above": _NUMBER,
        "min_detectable_ratio": _NO_NUMBER,
        **dict.fromkeys(("differences", "fingerprint_mismatch", "notes"), _TEXTS),
    }
    return _document(COMPARISON, "A verdict per cell.", _described(types, descriptions.COMPARISON))


def _document(kind: str, description: str, properties: Schema) -> Schema:
    head = {
        "schema_version": _said({"const": SCHEMA_VERSION}, "Version of this document."),
        "kind": _said({"const": kind}, "What this document is."),
    }
    return _said(_object({**head, **properties}), description)


def _cell() -> Schema:
    types: dict[str, Schema] = {name: _OF_COLUMN[kind] for name, kind in COLUMNS.items()}
    types["status"] = _STATUS
    numbers = [name for name, kind in COLUMNS.items() if kind != "string" and name not in _ALWAYS]
    return {
        **_object(_described(types, descriptions.COLUMNS)),
        "if": {"properties": {"status": {"const": Status.OK}}},
        "then": {"properties": {"latency_ms": _NUMBER, "reason": {"const": ""}}},
        "else": {"properties": dict.fromkeys(numbers, _NOTHING)},
    }


def _environment() -> Schema:
    by_name = {"type": "object", "additionalProperties": _TEXT}
    ceilings = _object(_described(dict.fromkeys(descriptions.CEILINGS, _NUMBER), descriptions.CEILINGS))
    counts = ("schema_version", "cores", "memory_bytes", "cache_bytes", "threads")
    types: dict[str, Schema] = {
        **dict.fromkeys(descriptions.ENVIRONMENT, _TEXT),
        **dict.fromkeys(counts, _COUNT),
        **dict.fromkeys(("capability", "driver", "cuda", "commit"), _NO_TEXT),
        "device_memory_bytes": _NO_COUNT,
        **dict.fromkeys(("packages", "flags", "participants"), by_name),
        "clocks": {"type": "object", "additionalProperties": _NUMBER},
        "ceilings": {"type": "object", "additionalProperties": ceilings},
    }
    fingerprint = ("device_name", "device_memory_bytes", "cpu_name", "cores", "threads", "cache", "launch", "allocator")
    types["fingerprint"] = _object(
        {
            **{name: _said(types[name], descriptions.ENVIRONMENT[name]) for name in fingerprint},
            "labels": _said(_TEXT, "Backends that have an environment of their own, as label=name."),
        }
    )
    return _object(_described(types, descriptions.ENVIRONMENT))


def _verdict() -> Schema:
    estimate = _object(_described({"value": _NUMBER, "low": _NO_NUMBER, "high": _NO_NUMBER}, descriptions.ESTIMATE))
    types: dict[str, Schema] = {
        **dict.fromkeys(descriptions.VERDICT, _NO_NUMBER),
        **dict.fromkeys(("case", "backend", "reason", "base_kernel", "candidate_kernel"), _TEXT),
        **dict.fromkeys(("base_peak_bytes", "candidate_peak_bytes"), _NO_COUNT),
        **dict.fromkeys(("base_status", "candidate_status"), _NO_STATUS),
        "verdict": {"enum": list(Verdict)},
        "ratio": {**estimate, "type": ["object", "null"]},
    }
    return _object(_described(types, descriptions.VERDICT))


def _object(properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _described(types: Mapping[str, Schema], said: Mapping[str, str]) -> Schema:
    return {name: _said(kind, said[name]) for name, kind in types.items()}


def _said(kind: Schema, description: str) -> Schema:
    return {"description": description, **kind}
