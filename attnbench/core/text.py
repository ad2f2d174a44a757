"""What messages of every wing spell alike: counts, and units of memory."""

from __future__ import annotations

MEBIBYTE, GIBIBYTE = 2**20, 2**30


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "cell"), plural(2, "cell"), plural(3, "process")
    ('1 cell', '2 cells', '3 processes')
    """
    return f"{count} {noun if count == 1 else noun + ('es' if noun.endswith('s') else 's')}"
