"""A YAML file that remembers which line every key stood on."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean
from ruamel.yaml.scalarfloat import ScalarFloat
from ruamel.yaml.scalarint import ScalarInt
from ruamel.yaml.scalarstring import ScalarString

from attnbench.core.errors import SuiteError
from attnbench.core.escaping import one_line, shortened
from attnbench.core.text import clean, echoed
from attnbench.suite import limits

_LONGEST_CAUSE, _LONGEST_OPTION = 200, 80
Location = tuple[str | int, ...]
"""Keys and indexes from the root of the file to a value."""


class Source:
    """A suite's YAML: plain data on one side, lines for error messages on the other."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._yaml = YAML()  # the round-trip loader: it keeps lines, order and comments
        self._yaml.width = 4096
        self._yaml.Parser = limits.BoundedParser
        self._root = self._parse(text)
        self._overridden: dict[str, str] = {}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Source:
        """A suite that was written in Python; lines of messages are those of its YAML.

        Raises:
            SuiteError: It holds what YAML cannot.
        """
        text = io.StringIO()
        try:
            YAML(typ="safe", pure=True).dump(dict(content), text)
        except (YAMLError, RecursionError) as error:
            raise SuiteError(f"the suite is not plain data: {clean(str(error), longest=_LONGEST_CAUSE)}") from None
        return cls(Path("dict"), text.getvalue())

    @classmethod
    def read(cls, path: Path) -> Source:
        """Read and parse ``path``.

        Raises:
            SuiteError: The file cannot be read, is empty, is not YAML, or is not a mapping.
        """
        try:
            if path.is_dir():
                raise SuiteError(f"{path} is a directory; give a suite's file")
            if path.exists() and not path.is_file():
                raise SuiteError(f"{path} is no ordinary file; give a suite's file")
            with path.open("rb") as file:
                raw = file.read(limits.LARGEST_BYTES + 1)
        except OSError as error:
            raise SuiteError(f"{echoed(str(path))} cannot be read: {error.strerror}") from None
        if len(raw) > limits.LARGEST_BYTES:
            raise SuiteError(f"{path} is larger than {limits.LARGEST_BYTES // 2**20} MiB; give a suite's YAML file")
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise SuiteError(f"{path}:{line}: not UTF-8 text; give a suite's YAML file") from None
        return cls(path, text)

    def _parse(self, text: str) -> CommentedMap:
        try:
            with warnings.catch_warnings(action="ignore"):  # of an anchor that stands twice, which YAML allows
                root = self._yaml.load(text)
        except limits.TooMuchError as error:
            raise SuiteError(f"{self.path}:{error.line}: {error}; a suite needs less") from None
        except DuplicateKeyError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            key = re.search(r'duplicate key "([^"]*)"', str(error.problem))
            raise SuiteError(f"{self.path}:{line}: the key {key[1] if key else ''} stands twice; keep one") from None
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise SuiteError(f"{self.path}:{line}: not YAML: {error.problem or error.context}") from None
        except (YAMLError, ValueError, OverflowError) as error:
            raise SuiteError(f"{self.path}:1: not YAML: {clean(str(error), longest=_LONGEST_CAUSE)}") from None
        if root is None:
            raise SuiteError(f"{self.path}:1: the suite is empty; it needs at least a name and a sweep or cases")
        if not isinstance(root, CommentedMap):
            kind = "list" if isinstance(root, CommentedSeq) else type(root).__name__
            raise SuiteError(f"{self.path}:1: a suite is a mapping of keys to values, this is a {kind}")
        return root

    @property
    def data(self) -> dict[str, Any]:
        """The content as plain dicts, lists and scalars."""
        plain = _plain(self._root)
        assert isinstance(plain, dict)
        return plain

    def text_with(self, key: str, items: list[Any]) -> str:
        """The YAML after overrides, comments kept, with other items in the list at ``key``."""
        root = deepcopy(self._root)
        if items != _plain(root.get(key)):
            root[key] = CommentedSeq(items)
            root[key].fa.set_flow_style()
        buffer = io.StringIO()
        self._yaml.dump(root, buffer)
        return buffer.getvalue()

    def override(self, assignment: str) -> None:
        """Set one value: ``measure.max_time_s=0.5``; the value is read as YAML.

        Raises:
            SuiteError: Not ``key=value``, or the key leads through something that is not a mapping.
        """
        key, equals, value = assignment.partition("=")
        option = f"--set {shortened(one_line(assignment), _LONGEST_OPTION)}"
        if not (equals and key):
            raise SuiteError(f"{option}: write key=value, such as measure.max_time_s=0.5")
        try:
            limits.check(value)
            parsed = YAML(typ="safe", pure=True).load(value)
        except limits.TooMuchError as error:
            raise SuiteError(f"--set {clean(key, longest=_LONGEST_CAUSE)}: {error}; a suite needs less") from None
        except (YAMLError, ValueError, OverflowError):
            raise SuiteError(f"{option}: {echoed(value)} is not a YAML value") from None
        self.replace(tuple(key.split(".")), parsed, option)

    def replace(self, keys: tuple[str, ...], value: Any, option: str) -> None:
        """Set the value at ``keys`` as ``option`` of the command line asks."""
        target = self._root
        for depth, step in enumerate(keys[:-1], start=1):
            if target.get(step) is None:
                target[step] = CommentedMap()
                self._overridden[".".join(keys[:depth])] = option
            target = target[step]
            if not isinstance(target, dict):
                raise SuiteError(f"{option}: {step} is not a mapping in {self.path}")
        target[keys[-1]] = value
        self._overridden[".".join(keys)] = option

    def overrides(self, *keys: str) -> bool:
        """Whether an option changed what stands at one of some top-level keys."""
        return any(key.partition(".")[0] in keys for key in self._overridden)

    def where(self, location: Location) -> str:
        """``file:line`` of what stands at ``location``, or the option that put it there."""
        path = [str(step) for step in location]
        for depth in range(len(path), 0, -1):
            if option := self._overridden.get(".".join(path[:depth])):
                return option
        return f"{self.path}:{self._line(location)}"

    def _line(self, location: Location) -> int:
        node: Any = self._root
        line = 0
        for step in location:
            if isinstance(node, CommentedMap) and step in node:
                with suppress(KeyError, AttributeError, TypeError):  # what was merged or set has no line of its own
                    line = node.lc.key(step)[0]
            elif isinstance(node, CommentedSeq) and isinstance(step, int) and step < len(node):
                line = node.lc.item(step)[0]
            else:
                break
            node = node[step]
        return int(line) + 1


def _plain(node: Any) -> Any:
    """Without the classes that keep comments and spellings: 0x10 is 16, in a file as in ``--set``."""
    if isinstance(node, dict):
        return {_plain(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    if isinstance(node, TaggedScalar):  # YAML 1.1 had its own kinds for = and <<, which nobody means
        return node.value
    for kind in (ScalarBoolean, ScalarInt, ScalarFloat, ScalarString):
        if isinstance(node, kind):
            plain = {ScalarBoolean: bool, ScalarInt: int, ScalarFloat: float, ScalarString: str}[kind]
            return plain(node)
    return node
