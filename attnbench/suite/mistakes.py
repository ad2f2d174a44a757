"""What the author of a suite is told about a mistake: one sentence, with the file and the line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from attnbench.core.escaping import one_line, shortened
from attnbench.core.text import echoed
from attnbench.suite.schema import BackendEntry, CaseEntry, Exclusion, Fields, MeasureEntry, SuiteFile
from attnbench.suite.source import Location, Source

_MODELS: dict[str | int, type[BaseModel]] = {
    "sweep": Fields,
    "cases": CaseEntry,
    "exclude": Exclusion,
    "measure": MeasureEntry,
    "backends": BackendEntry,
}
"""By key of a suite, the mapping below it."""
_LONGEST_KEY = 80
_KINDS = {
    "list_type": "a list",
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "too_short": "at least one",
    "string_too_short": "text that is not empty",
    "string_too_long": "at most 200 characters",
    "string_unicode": "well-formed text",
}
"""By pydantic's kind of error, what is allowed."""
_PATTERNS = {
    "name": "letters, digits, '_', '-' and '.', because it names a directory",
    "device": "auto, cpu, cuda, cuda:1",
    "cases.name": "one line of text without control characters",
    "backends.label": "one line of text without = and @",
}
"""By key, what a pattern allows."""


def sentence(errors: Sequence[ErrorDetails], source: Source) -> str:
    """What is wrong, where, and what is allowed."""
    # A misspelt key often comes with a missing one: name the cause, not the consequence.
    first = min(errors, key=lambda error: error["type"] not in ("extra_forbidden", "invalid_key"))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{source.where(first['loc'])}: {_explanation(first)}{more}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint at a similar word; empty where there is none."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _explanation(error: ErrorDetails) -> str:
    kind, location = error["type"], error["loc"]
    key = shortened(one_line(".".join(map(str, location))), _LONGEST_KEY)
    match kind:
        case "invalid_key":
            above = ".".join(map(str, location[:-1])) or "the suite"
            return f"{above}: {echoed(error['input'])} is not allowed (allowed: a key, which is text)"
        case "extra_forbidden":
            model = SuiteFile if len(location) == 1 else _MODELS[location[0]]
            allowed = list(model.model_fields)
            hint = did_you_mean(str(location[-1]), allowed)
            return f"unknown key {key}{hint} (allowed: {', '.join(allowed)})"
        case "missing":
            return f"{key} is missing"
        case "value_error":
            return f"{key}: {error['ctx']['error']}"
    if what := _allowed(error, location):
        return f"{key}: {echoed(error['input'])} is not allowed (allowed: {what})"
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}, got {echoed(error['input'])}"


def _allowed(error: ErrorDetails, location: Location) -> str | None:
    match error["type"]:
        case "enum":
            return str(error["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
        case "string_pattern_mismatch":
            return _PATTERNS[".".join(step for step in location if isinstance(step, str))]
        case "greater_than" | "greater_than_equal":
            return f"{'more than' if error['type'] == 'greater_than' else 'at least'} {_bound(error)}"
        case "less_than_equal":
            return f"at most {_bound(error)}"
        case "model_type" | "model_attributes_type":
            return f"a mapping of {', '.join(_MODELS[location[0]].model_fields)}"
    return _KINDS.get(error["type"])


def _bound(error: ErrorDetails) -> str:
    return f"{next(iter(error['ctx'].values())):g}"
