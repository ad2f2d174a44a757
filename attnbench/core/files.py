"""Dataclasses as JSON: every type is checked when they are read, files have a version and are written whole."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, BinaryIO, TypeVar, Union, get_args, get_origin, get_type_hints

from attnbench.core.errors import AttnbenchError, LostOutputError, StoredRunError

T = TypeVar("T")
_NO_RENAME = (errno.ENOSYS, errno.ENOTSUP, errno.EXDEV, errno.EPERM)
"""Some network and object stores rename nothing: a copy may be cut short, but to keep nothing is worse."""
_Reader = Callable[[Any], Any]


def opened(file: Path) -> BinaryIO:
    """An ordinary file, to be read: whoever opens a pipe may wait for ever.

    Raises:
        OSError: It cannot be read, or is no ordinary file.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no ordinary file", str(file))
        return open(descriptor, "rb")  # noqa: PTH123 - whoever asked for it closes it
    except OSError:
        os.close(descriptor)
        raise


def content(file: Path) -> bytes:
    """What an ordinary file holds.

    Raises:
        OSError: It cannot be read, or is no ordinary file.
    """
    with opened(file) as whole:
        return whole.read()


def load(kind: type[T], file: Path, *, version: int, what: str, hint: str = "", derived: Sequence[str] = ()) -> T:
    """The dataclass that a JSON file holds.

    Args:
        kind: The dataclass.
        file: The file.
        version: The schema version that is read.
        what: What the file should be, with its article: ``an environment``.
        hint: What to do where there is no such file.
        derived: Fields of the file that follow from others, and are not read.

    Raises:
        StoredRunError: There is none, it is damaged, or another version wrote it.
    """
    try:
        held = content(file)
    except OSError as error:
        raise StoredRunError(f"{file} cannot be read: {error.strerror}{hint and f'; {hint}'}") from None
    return parse(kind, held, file, version=version, what=what, derived=derived)


def parse(
    kind: type[T],
    content: bytes,
    file: Path,
    *,
    version: int,
    what: str,
    line: int = 1,
    advice: str = "the file is damaged",
    derived: Sequence[str] = (),
) -> T:
    """The dataclass in a part of a file that begins at ``line``.

    Raises:
        StoredRunError: It is none, or another version wrote it.
    """
    where = f"{file}:{line}"
    try:
        data = json.loads(content)
        found = read(int, data.pop("schema_version"))
    except json.JSONDecodeError as error:
        raise StoredRunError(f"{file}:{line + error.lineno - 1}: not {what}; {advice}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise StoredRunError(f"{where}: not {what}; {advice}") from None
    if found > version:
        raise StoredRunError(
            f"{where}: written by a newer attnbench (schema {found}, this one reads {version}); upgrade"
        )
    if found < version:
        raise StoredRunError(
            f"{where}: written by an older attnbench (schema {found}, this one reads {version}); measure again"
        )
    try:
        return read(kind, {name: value for name, value in data.items() if name not in derived})
    except (ValueError, TypeError, RecursionError, OverflowError, AttnbenchError) as error:
        raise StoredRunError(f"{where}: not {what}: {error}; {advice}") from None


def write_json(file: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file whole.

    Raises:
        LostOutputError: It cannot be written; what was there before still is.
    """
    with written_whole(file) as unfinished:
        unfinished.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


@contextmanager
def written_whole(file: Path, *, note: str = "") -> Iterator[Path]:
    """Gives a path beside a file to write to, which then takes the file's place: nobody ever reads half of it.

    Args:
        file: What is to be written.
        note: What to add where it cannot be.

    Raises:
        LostOutputError: It cannot be written; what was there before still is.
    """
    unfinished = file.with_name(f".{file.name}-{os.getpid()}.unfinished")
    try:
        yield unfinished
        with unfinished.open("rb+") as written:
            os.fsync(written.fileno())
        _replace(unfinished, file)
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or 0)
        raise LostOutputError(f"{file} cannot be written: {reason}{note and f'; {note}'}") from None
    finally:
        with suppress(OSError):  # a name too long, or a parent that is a file: told above
            unfinished.unlink(missing_ok=True)


def rename_directory(unfinished: Path, directory: Path, *, last: str) -> None:
    """Give a directory its name, once it is whole.

    Args:
        unfinished: Where it is.
        directory: Its name.
        last: The file without which nobody takes it for what it is.

    Raises:
        OSError: That is not possible.
    """
    try:
        unfinished.rename(directory)
    except OSError as error:
        if error.errno not in _NO_RENAME:
            raise
        shutil.copytree(unfinished, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns(last))
        shutil.copytree(unfinished, directory, dirs_exist_ok=True)


def _replace(unfinished: Path, file: Path) -> None:
    try:
        unfinished.replace(file)
    except OSError as error:
        if error.errno not in _NO_RENAME:
            raise
        shutil.copyfile(unfinished, file)


def read(kind: type[T], value: Any) -> T:
    """A value of a type from its JSON.

    Args:
        kind: A dataclass, an enumeration, a number, text, or tuples, mappings and unions of these.
        value: As ``json.loads`` gives it.

    Raises:
        ValueError: It is of another type.
    """
    found: T = _reader(kind)(value)  # type: ignore[arg-type]  # mypy does not know that types are hashable
    return found


@cache
def _reader(kind: Any) -> _Reader:
    """Reads values of a type: to look at the type again for every value would take three times as long."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _union_reader(arguments)
    if origin is tuple:
        return _tuple_reader(arguments)
    if origin in (dict, Mapping):
        name, each = map(_reader, arguments)
        return lambda value: {name(key): each(one) for key, one in _checked(value, dict).items()}
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    if issubclass(kind, StrEnum):
        return kind
    return _read_float if kind is float else lambda value: _checked(value, kind)


def _union_reader(kinds: tuple[Any, ...]) -> _Reader:
    *others, last = [_reader(kind) for kind in kinds if kind is not NoneType]

    def read_any(value: Any) -> Any:
        for reader in others:
            try:
                return reader(value)
            except ValueError:
                continue
        return last(value)

    some = read_any if others else last
    return (lambda value: None if value is None else some(value)) if NoneType in kinds else some


def _tuple_reader(kinds: tuple[Any, ...]) -> _Reader:
    if kinds[-1] is Ellipsis:
        each = _reader(kinds[0])
        return lambda value: tuple([each(one) for one in _checked(value, list)])
    readers = [_reader(kind) for kind in kinds]

    def read_tuple(value: Any) -> Any:
        if len(_checked(value, list)) != len(readers):
            raise ValueError(f"{value!r:.80} has not {len(readers)} items")
        return tuple([reader(one) for reader, one in zip(readers, value, strict=True)])

    return read_tuple


def _dataclass_reader(kind: Any) -> _Reader:
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}
    required = {one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING}

    def read_dataclass(value: Any) -> Any:
        if unknown := _checked(value, dict).keys() - readers.keys():
            raise ValueError(f"{kind.__name__} has no field {min(unknown)!r:.80}")
        if missing := required - value.keys():
            raise ValueError(f"{kind.__name__} lacks {min(missing)}")
        found, name = {}, ""
        try:
            for name, one in value.items():
                found[name] = readers[name](one)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        return kind(**found)

    return read_dataclass


def _read_float(value: Any) -> float:
    if type(value) is float and math.isfinite(value):  # nearly all of what journals hold
        return value
    number = float(value) if type(value) is int else value
    if not math.isfinite(_checked(number, float)) and number != math.inf:
        raise ValueError("not a number")
    return number


def _checked(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{value!r:.80} is not of type {kind.__name__}")
    return value
