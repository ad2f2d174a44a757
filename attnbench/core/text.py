"""What messages of every wing spell alike: counts, units of memory, and text that comes from elsewhere."""

from __future__ import annotations

from datetime import date, datetime
from fnmatch import fnmatchcase

from attnbench.core.escaping import without_colors

MEBIBYTE, GIBIBYTE = 2**20, 2**30
_LONGEST_ECHO = 80


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "cell"), plural(2, "cell"), plural(3, "process")
    ('1 cell', '2 cells', '3 processes')
    """
    return f"{count} {noun if count == 1 else noun + ('es' if noun.endswith('s') else 's')}"


def fits(name: str, asked: str) -> bool:
    """Whether a name is the one that was asked for, or fits a pattern of the shell.

    >>> fits("stage 1", "stage *"), fits("b[1]", "b[1]"), fits("stage 1", "stage")
    (True, True, False)
    """
    return name == asked or fnmatchcase(name, asked)


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
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{name}: {echoed(text)} is not a time (allowed: ISO 8601, as 2026-11-23T08:00:00+00:00)"
        ) from None


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
