"""Stored dataclasses are read with every type checked, and files are written whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attnbench.core.errors import LostOutputError, StoredRunError
from attnbench.core.files import load, parse, read, write_json, written_whole


@dataclass(frozen=True)
class Point:
    x: float
    name: str = ""

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x must not be negative")


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        (str | int | None, "a", "a"),
        (str | int | None, 3, 3),
        (str | int | None, None, None),
        (tuple[str, int], ["a", 1], ("a", 1)),
        (tuple[str, ...], ["a", "b"], ("a", "b")),
        (Mapping[str, Point], {"a": {"x": 1}}, {"a": Point(1.0)}),
        (dict[str, tuple[float, ...]], {"a": [1, 2.5]}, {"a": (1.0, 2.5)}),
    ],
)
def test_values_are_read_by_their_type(kind: Any, value: object, found: object) -> None:
    assert read(kind, value) == found


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (str | int, 2.5, "2.5 is not of type int"),
        (tuple[str, int], ["a"], "has not 2 items"),
        (tuple[str, int], "ab", "'ab' is not of type list"),
        (Point, {"x": "far"}, "x: 'far' is not of type float"),
        (Point, {"name": "a"}, "Point lacks x"),
        (Point, {"x": 1, "y": 2}, "Point has no field 'y'"),
        (Point, {"x": -1}, "x must not be negative"),
        (dict[str, Point], {"a": {"x": None}}, "x: None is not of type float"),
    ],
)
def test_what_is_of_another_type_is_named(kind: Any, value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(kind, value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", ":1: not a point; the file is damaged"),
        (b'{\n"schema_version": 3,\n"x": }', ":3: not a point; the file is damaged"),
        (b"\xff{}", ":1: not a point; the file is damaged"),
        (b"[" * 100_000, ":1: not a point; the file is damaged"),
        (b"[3]", ":1: not a point; the file is damaged"),
        (b'{"x": 1}', ":1: not a point; the file is damaged"),
        (b'{"schema_version": "3", "x": 1}', ":1: not a point; the file is damaged"),
        (b'{"schema_version": 4}', ":1: written by a newer attnbench (schema 4, this one reads 3); upgrade"),
        (b'{"schema_version": 2}', ":1: written by an older attnbench (schema 2, this one reads 3); measure again"),
        (b'{"schema_version": 3}', ":1: not a point: Point lacks x; the file is damaged"),
        (b'{"schema_version": 3, "x": -1}', ":1: not a point: x must not be negative; the file is damaged"),
    ],
)
def test_a_file_that_is_damaged_or_of_another_version_is_one_sentence(
    tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "point.json"
    file.write_bytes(content)
    with pytest.raises(StoredRunError) as caught:
        load(Point, file, version=3, what="a point")
    assert str(caught.value) == f"{file}{said}"


def test_a_file_that_is_not_there_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(StoredRunError, match=r"none cannot be read: No such file or directory; give a point$"):
        load(Point, tmp_path / "none", version=3, what="a point", hint="give a point")


def test_what_follows_from_other_fields_is_not_read(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"schema_version": 3, "x": 1.5, "length": "?"})
    assert load(Point, tmp_path / "a", version=3, what="a point", derived=("length",)) == Point(1.5)


def test_a_line_of_a_file_is_named_by_its_number() -> None:
    with pytest.raises(StoredRunError, match=r"^points:7: not a point; remove it$"):
        parse(Point, b"{", Path("points"), line=7, version=3, what="a point", advice="remove it")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "point.json"
    write_json(file, {"schema_version": 3, "x": 1.5})
    assert load(Point, file, version=3, what="a point") == Point(1.5)
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, synced = tmp_path / "a", []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(file.exists()))
    with written_whole(file) as unfinished:
        unfinished.write_text("new")
    assert synced == [False]
    assert file.read_text() == "new"


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a"
    file.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    said = "a cannot be written: No space left on device; the rest stays$"
    with pytest.raises(LostOutputError, match=said), written_whole(file, note="the rest stays") as unfinished:
        unfinished.write_text("new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_json_that_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "a", {"x": object()})
    assert not list(tmp_path.iterdir())
