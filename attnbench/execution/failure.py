"""What an error that a backend raised means, in words for the table."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, in any of the ways torch says so."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # torch's CPU allocator, and CUDA outside torch's allocator, raise a plain RuntimeError.
    texts = ("DefaultCPUAllocator: can't allocate memory", "CUDA error: out of memory")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


def describe_error(error: BaseException) -> str:
    """Kind, message and place of an error, on one line."""
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{said}{_place(error)}"


def _place(error: BaseException) -> str:
    """Where a backend raised: the innermost line that is neither ours nor torch's."""
    ours = (str(Path(__file__).resolve().parents[1]), str(Path(torch.__file__).parent))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((*ours, "<")):
            return f" ({Path(frame.filename).name}:{frame.lineno})"
    return ""
