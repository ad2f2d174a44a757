"""What messages of every wing spell alike: counts, units of memory, and text that comes from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from fnmatch import translate

from attnbench.core.escaping import without_colors

MEBIBYTE, GIBIBYTE = 2**20, 2**30
_LONGEST_ECHO = 80


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "cell"), plural(2, "cell"), plural(3, "process")
    ('1 cell', '2 cells', '3 processes')
    """
    return f"{count} {noun if count == 1 else noun + ('es' if noun.endswith('s') else 's')}"


def chosen(names: Iterable[str], asked: str) -> list[str]:
    """The one of some names that was asked for, or those that fit a pattern of the shell.

    >>> chosen(["stage 1", "stage 2"], "stage *"), chosen(["b1", "b[1]"], "b[1]"), chosen(["b1"], "b")
    (['stage 1', 'stage 2'], ['b[1]'], [])
    """
    known = list(names)
    fits = re.compile(translate(asked)).match
    return [asked] if asked in known else [name for name in known if fits(name)]


def clean(text: str, *, longest: int) -> str:
    r"""Text from elsewhere as one bounded line of well-formed Unicode, without control and bidirectional characters.

    >>> clean("no kernel\x1b[31m for\r\ncpu\ud800", longest=100)
    'no kernel for cpu'
    """
    shown = "".join(character if character.isprintable() else " " for character in without_colors(text))
    return " ".join(shown.split())[:longest]


def check_time(name: str, text: str) -> None:
    """See that a field holds a time.

    Raises:
        ValueError: It does not.
    """
    try:
        moment(text).astimezone(UTC)
    except (ValueError, OverflowError):  # in some zones the first and the last day lie beyond the calendar
        raise ValueError(
            f"{name}: {echoed(text)} is not a time (allowed: ISO 8601, as 2026-11-23T08:00:00+00:00)"
        ) from None


def moment(text: str) -> datetime:
    """The time that a text gives; without a zone, in UTC.

    >>> moment("2026-11-23T03:00:00Z") == moment("2026-11-23T04:00:00+01:00")
    True
    """
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def echoed(value: object) -> str:
    """A value that was given, for a message: at most eighty characters of it.

    >>> echoed("x" * 200)[-6:]
    'xxxxx…'
    """
    try:
        spelled = clean(str(value) if isinstance(value, date) else repr(value), longest=_LONGEST_ECHO + 1)
    except ValueError:  # an integer of thousands of digits
        return f"a number of {value.bit_length()} bits" if isinstance(value, int) else type(value).__name__
    return spelled if len(spelled) <= _LONGEST_ECHO else spelled[: _LONGEST_ECHO - 1] + "…"
