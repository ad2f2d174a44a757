"""Tensors survive their way through files in memory, and files that somebody else wrote are read with care."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import torch

from attnbench.core.channel import memory_file
from attnbench.core.protocol import Tensors
from attnbench.worker.tensors import NoRoomError, copy_tensors, map_tensors, write_tensors

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.fixture
def file() -> Iterator[int]:
    descriptor = memory_file()
    yield descriptor
    os.close(descriptor)


def sample(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    values = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    return {
        "x": values,
        "turned round": values.permute(2, 0, 1),
        "one": values[0, 0, 0],
        "none": values[:0],
        "every other": values[:, ::2],
    }


@pytest.mark.parametrize("read", [copy_tensors, map_tensors])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_come_back_as_they_were(
    file: int, dtype: torch.dtype, read: Callable[[int, Tensors], dict[str, torch.Tensor]]
) -> None:
    written = sample(dtype)
    layout = write_tensors(file, written)
    assert layout.size == os.fstat(file).st_size
    assert not any(offset % 64 for offset in layout.offsets)
    found = read(file, layout)
    assert list(found) == list(written)
    for name, value in written.items():
        assert found[name].dtype is dtype
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("read", [copy_tensors, map_tensors])
def test_no_tensors_come_back_as_none(file: int, read: Callable[[int, Tensors], dict[str, torch.Tensor]]) -> None:
    assert read(file, write_tensors(file, {})) == {}


def test_tensors_that_need_gradients_are_written_by_their_values(file: int) -> None:
    value = torch.ones(3, requires_grad=True)
    found = copy_tensors(file, write_tensors(file, {"x": value}))["x"]
    assert not found.requires_grad
    assert found.tolist() == [1, 1, 1]


def test_what_is_written_replaces_what_was(file: int) -> None:
    write_tensors(file, {"x": torch.zeros(1000)})
    layout = write_tensors(file, {"y": torch.ones(3)})
    assert os.fstat(file).st_size == 64
    assert copy_tensors(file, layout)["y"].tolist() == [1, 1, 1]


def test_whoever_maps_tensors_changes_them_for_nobody_else(file: int) -> None:
    layout = write_tensors(file, {"x": torch.ones(3)}, seal=True)
    mine, theirs = map_tensors(file, layout), map_tensors(file, layout)
    mine["x"].zero_()
    assert theirs["x"].tolist() == [1, 1, 1]


def test_tensors_that_were_copied_do_not_change_with_the_file(file: int) -> None:
    layout = write_tensors(file, {"x": torch.ones(3)})
    found = copy_tensors(file, layout)
    os.ftruncate(file, 0)
    assert found["x"].tolist() == [1, 1, 1]


def test_a_sealed_file_can_neither_be_written_nor_cut_nor_grow(file: int) -> None:
    write_tensors(file, {"x": torch.ones(3)}, seal=True)
    for change in (
        lambda: os.pwrite(file, b"x", 0),
        lambda: os.ftruncate(file, 0),
        lambda: os.ftruncate(file, 1000),
    ):
        with pytest.raises(PermissionError):
            change()
    assert copy_tensors(file, Tensors(names=("x",), dtypes=("float32",), shapes=((3,),), offsets=(0,), size=64))


def test_shared_memory_without_room_says_how_much_was_needed(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(NoRoomError, match=r"^shared memory has no room for 3 MiB \(No space left on device\)$"):
        write_tensors(file, {"x": torch.zeros(3 * 2**18)})


def layout(**fields: Any) -> Tensors:
    """Four numbers at the start of a file of 64 bytes; give what is wrong."""
    known = {"names": ("output",), "dtypes": ("float32",), "shapes": ((4,),), "offsets": (0,), "size": 64}
    return Tensors(**{**known, **fields})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"size": 128}, "larger than the file"),
        ({"size": -1}, "larger than the file"),
        ({"size": 2**80}, "larger than the file"),
        ({"offsets": (-64,)}, "'output' does not lie in the file"),
        ({"offsets": (4,)}, "'output' does not lie in the file"),
        ({"offsets": (64,)}, "'output' does not lie in the file"),
        ({"offsets": (2**80,)}, "'output' does not lie in the file"),
        ({"shapes": ((17,),)}, "'output' does not lie in the file"),
        ({"shapes": ((-4,),)}, "'output' does not lie in the file"),
        ({"shapes": ((-2, -2),)}, "'output' does not lie in the file"),
        ({"shapes": ((2**40, 2**40),)}, "'output' does not lie in the file"),
        ({"dtypes": ("nothing",)}, "'nothing' is not a dtype"),
        ({"dtypes": ("Tensor",)}, "'Tensor' is not a dtype"),
        ({"dtypes": ("",)}, "'' is not a dtype"),
        ({"names": ("a", "b")}, "as many names as dtypes"),
        ({"offsets": ()}, "as many names as dtypes"),
        pytest.param({"shapes": ((0, 2**70),)}, "does not lie in the file"),
        pytest.param({"shapes": ((0, 2**62, 2**62),)}, "does not lie in the file"),
        pytest.param({"dtypes": ("quint8",)}, "is not a dtype"),
    ],
)  # fmt: skip
def test_a_layout_that_lies_is_refused(file: int, fields: dict[str, Any], said: str) -> None:
    os.write(file, bytes(64))
    with pytest.raises(ValueError, match=said):
        copy_tensors(file, layout(**fields))


def test_a_file_that_is_cut_while_it_is_read_is_refused(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    os.write(file, bytes(64))
    read = os.pread

    def cutting(descriptor: int, size: int, offset: int) -> bytes:
        os.ftruncate(descriptor, 32)
        return read(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", cutting)
    with pytest.raises(ValueError, match="the file of the outputs was cut"):
        copy_tensors(file, layout())


def test_a_file_that_is_read_in_pieces_is_whole(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    written = sample(torch.float32)
    known = write_tensors(file, written)
    read = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, size, offset: read(descriptor, min(size, 100), offset))
    found = copy_tensors(file, known)
    assert all(torch.equal(found[name], value) for name, value in written.items())


def test_what_is_written_in_pieces_is_whole(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    written = sample(torch.float32)
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, content, offset: write(descriptor, content[:100], offset))
    found = copy_tensors(file, write_tensors(file, written))
    assert all(torch.equal(found[name], value) for name, value in written.items())


def test_no_descriptor_is_kept_by_whoever_read_or_mapped_a_file() -> None:
    with ExitStack() as stack:
        first = memory_file()
        stack.callback(os.close, first)
        known = write_tensors(first, {"x": torch.ones(3)})
        second = os.dup(first)
        mapped = map_tensors(second, known)
        os.close(second)
    assert mapped["x"].tolist() == [1, 1, 1], "the pages stay when the file is closed"
