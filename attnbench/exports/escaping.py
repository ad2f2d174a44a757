"""Characters that a format or a line cannot hold, made visible; everything else stays as it is."""

from __future__ import annotations

import re

_COLORS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
"""Control sequences of terminals (ECMA-48, section 5.4) and what sets their titles."""
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What XML 1.0 has no place for (section 2.2), or advises against."""
_BREAKING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
"""The same, and all that begins a new line somewhere."""


def legal(text: str) -> str:
    r"""Text that XML, JSON and UTF-8 can hold: colors of terminals are left out, other control characters spelled.

    >>> print(legal("\x1b[31mred\x1b[0m, bell \x07"))
    red, bell \x07
    """
    return _ILLEGAL.sub(_spelled, _COLORS.sub("", text))


def one_line(text: str) -> str:
    r"""Legal text without line breaks, which are spelled, too.

    >>> print(one_line("first\nsecond"))
    first\nsecond
    """
    return _BREAKING.sub(_spelled, _COLORS.sub("", text))


def shortened(text: str, characters: int) -> str:
    """Text of at most so many characters, which says so where something was cut off.

    >>> shortened("sdpa_efficient", 6)
    'sdpa_…'
    """
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
