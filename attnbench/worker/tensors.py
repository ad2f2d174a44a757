"""Tensors as raw bytes in files that live in memory."""

from __future__ import annotations

import ctypes
import fcntl
import math
import mmap
import os
from collections.abc import Mapping

import torch
from torch import Tensor

from attnbench.core.protocol import Tensors

_ALIGNMENT = 64
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    )
}  # fmt: skip
"""What may cross: some others, made of bytes, take down whoever touches them."""
_LONGEST_SIDE = 2**40
_ADD_SEALS = 1033
_SEAL_ALL = 0b1111
"""fcntl(2): no more seals, no shrinking, no growing, no writing."""


class NoRoomError(MemoryError):
    """Shared memory has no room for tensors."""


def write_tensors(descriptor: int, tensors: Mapping[str, Tensor], *, seal: bool = False) -> Tensors:
    """Replace a file's content.

    Args:
        descriptor: The file.
        tensors: On any device.
        seal: Whether nobody may ever change it again, however the file came to them.

    Raises:
        NoRoomError: They do not fit: with what is needed.
    """
    values = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    offsets, size = [], 0
    for value in values.values():
        offsets.append(size)
        size += -(-value.numel() * value.element_size() // _ALIGNMENT) * _ALIGNMENT
    try:
        os.ftruncate(descriptor, 0)
        if size:
            os.posix_fallocate(descriptor, 0, size)
        for value, offset in zip(values.values(), offsets, strict=True):
            _write(descriptor, value, offset)
    except OSError as error:
        raise NoRoomError(f"shared memory has no room for {size / 2**20:.0f} MiB ({error.strerror})") from None
    if seal and hasattr(os, "memfd_create"):
        fcntl.fcntl(descriptor, _ADD_SEALS, _SEAL_ALL)
    return Tensors(
        names=tuple(values),
        dtypes=tuple(str(value.dtype).removeprefix("torch.") for value in values.values()),
        shapes=tuple(tuple(value.shape) for value in values.values()),
        offsets=tuple(offsets),
        size=size,
    )


def map_tensors(descriptor: int, layout: Tensors) -> dict[str, Tensor]:
    """Tensors that share a file's pages until somebody writes to them, who then has a page of his own."""
    if not layout.size:
        return {}
    pages = mmap.mmap(descriptor, layout.size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    return _view(memoryview(pages), layout)


def copy_tensors(descriptor: int, layout: Tensors, *, most_bytes: int = 2**62) -> dict[str, Tensor]:
    """Tensors copied from a file that somebody else may change or cut at any time.

    Args:
        descriptor: The file.
        layout: Where they lie in it.
        most_bytes: More is not read.

    Raises:
        ValueError: They do not lie in it, or are of a kind that no output is.
    """
    if layout.size < 0 or layout.size > os.fstat(descriptor).st_size:
        raise ValueError("the outputs are larger than the file they should lie in")
    if layout.size > most_bytes:
        raise ValueError(f"outputs of {layout.size} bytes (allowed: {most_bytes})")
    content = bytearray()
    while len(content) < layout.size:
        chunk = os.pread(descriptor, layout.size - len(content), len(content))
        if not chunk:
            raise ValueError("the file of the outputs was cut")
        content += chunk
    return _view(memoryview(content), layout) if content else {}


def _write(descriptor: int, value: Tensor, offset: int) -> None:
    size = value.numel() * value.element_size()
    if not size:
        return
    # Not by numpy: an environment needs torch alone.
    content = memoryview((ctypes.c_char * size).from_address(value.data_ptr())).cast("B")
    written = 0
    while written < size:
        written += os.pwrite(descriptor, content[written:], offset + written)


def _view(content: memoryview, layout: Tensors) -> dict[str, Tensor]:
    found = {}
    if len({len(layout.names), len(layout.dtypes), len(layout.shapes), len(layout.offsets)}) > 1:
        raise ValueError("the outputs have not as many names as dtypes, shapes and offsets")
    for name, kind, shape, offset in zip(layout.names, layout.dtypes, layout.shapes, layout.offsets, strict=True):
        dtype = _DTYPES.get(kind)
        if dtype is None:
            raise ValueError(f"{kind!r:.80} is not a dtype of an output (allowed: {', '.join(_DTYPES)})")
        if any(not 0 <= side <= _LONGEST_SIDE for side in shape):
            raise ValueError(f"{name!r:.80} does not lie in the file of the outputs")
        size = math.prod(shape) * dtype.itemsize
        if offset < 0 or offset % _ALIGNMENT or offset + size > len(content):
            raise ValueError(f"{name!r:.80} does not lie in the file of the outputs")
        flat = torch.frombuffer(content[offset : offset + size], dtype=dtype) if size else torch.empty(0, dtype=dtype)
        found[name] = flat.view(shape)
    return found
