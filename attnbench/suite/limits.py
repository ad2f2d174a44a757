"""What a suite's YAML may hold at most: looked at event by event, before anything is built of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)
from ruamel.yaml.parser import RoundTripParser

from attnbench.core.text import echoed

LARGEST_BYTES = 2**20
"""Of a file, or of a value of ``--set``."""
_DEEPEST, _MOST_NODES = 20, 100_000
_LONGEST_NUMBER = 400
"""Digits; Python refuses to read integers of more than 4300."""


class TooMuchError(ValueError):
    """It is more than a suite ever needs: with the line."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


@dataclass(kw_only=True)
class _Collection:
    """A list or a mapping that has begun."""

    anchor: str | None
    is_mapping: bool
    began: int
    """Values before it."""
    children: int = 0


def check(text: str) -> None:
    """See that YAML stays within bounds when its aliases are followed.

    Raises:
        TooMuchError: It does not.
        YAMLError: It is not YAML.
    """
    counted = _Counted()
    for event in YAML(pure=True).parse(text):
        counted.take(event)


class BoundedParser(RoundTripParser):
    """A parser that looks at every event before anything is built of it."""

    def __init__(self, loader: Any) -> None:
        super().__init__(loader)
        self._counted = _Counted()

    def get_event(self) -> Any:
        """The next event.

        Raises:
            TooMuchError: It is more than a suite needs.
        """
        event = super().get_event()
        self._counted.take(event)
        return event


class _Counted:
    """What was read so far."""

    def __init__(self) -> None:
        self._values = 0
        self._open: list[_Collection] = []
        self._sizes: dict[str, int] = {}
        """By anchor, the values that it stands for."""
        self._scalars: set[str] = set()
        """Anchors of single values."""

    def take(self, event: Any) -> None:
        """Take in one event.

        Raises:
            TooMuchError: It is more than a suite needs.
        """
        if isinstance(event, CollectionEndEvent):
            ended = self._open.pop()
            if ended.anchor is not None:
                self._sizes[ended.anchor] = self._values - ended.began
        if not isinstance(event, NodeEvent):
            return
        line = event.start_mark.line + 1
        self._check_node(event, line)
        self._values += self._size(event, line)
        if self._values > _MOST_NODES:
            raise TooMuchError(line, f"more than {_MOST_NODES} values, aliases followed")
        if self._open:
            self._open[-1].children += 1
        if isinstance(event, CollectionStartEvent):
            is_mapping = isinstance(event, MappingStartEvent)
            self._open.append(_Collection(anchor=event.anchor, is_mapping=is_mapping, began=self._values))
            if len(self._open) > _DEEPEST:
                raise TooMuchError(line, f"more than {_DEEPEST} levels, one inside the other")

    def _check_node(self, event: Any, line: int) -> None:
        if tag := getattr(event, "tag", None):
            raise TooMuchError(line, f"the tag {echoed(tag)}")
        is_key = bool(self._open) and self._open[-1].is_mapping and self._open[-1].children % 2 == 0
        is_scalar = isinstance(event, ScalarEvent) or (isinstance(event, AliasEvent) and event.anchor in self._scalars)
        if is_key and not is_scalar:
            raise TooMuchError(line, "a list or a mapping in place of a key")

    def _size(self, event: Any, line: int) -> int:
        """How many values an event stands for."""
        if isinstance(event, AliasEvent):
            if event.anchor in {one.anchor for one in self._open}:
                raise TooMuchError(line, f"*{event.anchor} stands inside of what it stands for")
            return self._sizes.get(event.anchor, 1)
        if isinstance(event, ScalarEvent):
            if len(event.value) > _LONGEST_NUMBER and event.style is None and event.value.lstrip("+-").isdigit():
                raise TooMuchError(line, f"a number of {len(event.value)} digits")
            if event.anchor is not None:
                self._sizes[event.anchor] = 1
                self._scalars.add(event.anchor)
        elif event.anchor is not None:
            self._scalars.discard(event.anchor)
        return 1
