"""What a suite's YAML may hold at most: looked at event by event, before anything is built of it."""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent, ScalarEvent

from attnbench.core.text import echoed

LARGEST_BYTES = 2**20
"""Of a file, or of a value of ``--set``."""
_DEEPEST, _MOST_NODES = 20, 200_000
_LONGEST_NUMBER = 400
"""Digits; Python refuses to read integers of more than 4300."""


class TooMuchError(ValueError):
    """It is more than a suite ever needs: with the line."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


def check(text: str) -> None:
    """See that YAML stays within bounds when its aliases are followed.

    Raises:
        TooMuchError: It does not.
        YAMLError: It is not YAML.
    """
    sizes: dict[str, int] = {}
    stack: list[tuple[str | None, int]] = []
    nodes = 0
    for event in YAML(pure=True).parse(text):
        line = event.start_mark.line + 1
        if isinstance(event, CollectionEndEvent):
            anchor, before = stack.pop()
            if anchor is not None:
                sizes[anchor] = nodes - before
        if not isinstance(event, NodeEvent):
            continue
        if tag := getattr(event, "tag", None):
            raise TooMuchError(line, f"the tag {echoed(tag)}")
        nodes += _size(event, line, sizes, stack)
        if nodes > _MOST_NODES:
            raise TooMuchError(line, f"more than {_MOST_NODES} values, aliases followed")
        if isinstance(event, CollectionStartEvent):
            stack.append((event.anchor, nodes))
            if len(stack) > _DEEPEST:
                raise TooMuchError(line, f"more than {_DEEPEST} levels, one inside the other")


def _size(event: Any, line: int, sizes: dict[str, int], stack: list[tuple[str | None, int]]) -> int:
    """How many values an event stands for."""
    if isinstance(event, AliasEvent):
        if event.anchor in {anchor for anchor, _ in stack}:
            raise TooMuchError(line, f"*{event.anchor} stands inside of what it stands for")
        return sizes.get(event.anchor, 1)
    if isinstance(event, ScalarEvent):
        if len(event.value) > _LONGEST_NUMBER and event.style is None and event.value.lstrip("+-").isdigit():
            raise TooMuchError(line, f"a number of {len(event.value)} digits")
        if event.anchor is not None:
            sizes[event.anchor] = 1
    return 1
