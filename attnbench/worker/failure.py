"""What an error that a backend raised means, in words for the table."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch

from attnbench.core.protocol import LONGEST_REASON

_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""torch's CPU allocator, and CUDA outside torch's allocator, raise a plain RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, in any of the ways torch says so."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in _message(error) for text in _OUT_OF_MEMORY)


def describe_error(error: BaseException) -> str:
    """Kind, message and place of an error, on one line."""
    text = " ".join(_message(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{said}{_place(error)}"


def _message(error: BaseException) -> str:
    try:
        return str(error)[: 10 * LONGEST_REASON]
    except BaseException as another:
        return f"(its text cannot be had: {type(another).__name__})"


def _place(error: BaseException) -> str:
    """Where a backend raised: the innermost line that is neither ours nor torch's."""
    ours = (str(Path(__file__).resolve().parents[1]), str(Path(torch.__file__).parent))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((*ours, "<")):
            return f" ({Path(frame.filename).name}:{frame.lineno})"
    return ""
