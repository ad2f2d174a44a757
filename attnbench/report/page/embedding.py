"""Data inside HTML: nothing in it can end the script it stands in, and hidden characters show."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

_DIGITS = 7
"""Significant digits of numbers: more than any measurement has."""
_HIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""Control characters, and those that turn text round or have no width; line breaks are left."""


def visible(text: str) -> str:
    r"""Text in which characters that could mislead a reader are spelled.

    >>> print(visible("a\u202eb"))
    a\u202eb
    """
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def script_json(value: Any) -> str:
    """JSON that can stand in a ``<script>``: whatever names contain, there is no ``<`` in it."""
    text = json.dumps(plain(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def plain(value: Any) -> Any:
    """A value as JSON has it: visible text, numbers of seven digits, null where a number is missing or infinite."""
    kind = type(value)  # the usual types first: a page of 10,000 cells has a million values
    if kind is float:
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if value is None or kind is int or kind is bool:
        return value
    if isinstance(value, str):
        return value if value.isprintable() else visible(value)
    if isinstance(value, dict):
        return {plain(str(name)): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    raise TypeError(f"{value!r} has no place in a page")


def columns(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rows column by column: one value where all are the same, and texts that come again once."""
    return {name: _column([row[name] for row in rows]) for name in (rows[0] if rows else {})}


def _column(values: Sequence[Any]) -> dict[str, Any]:
    distinct = list(dict.fromkeys(values))
    if len(distinct) == 1:
        return {"same": distinct[0]}
    if all(isinstance(value, str) for value in distinct) and len(distinct) < len(values):
        codes = {value: code for code, value in enumerate(distinct)}
        return {"texts": distinct, "codes": [codes[value] for value in values]}
    return {"values": list(values)}
