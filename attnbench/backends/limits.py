"""What keeps a kernel from computing a problem, each reason with the value and what is allowed; backends choose."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from attnbench.core.problem import Dtype, Mode, Problem

if TYPE_CHECKING:
    from attnbench.backends.base import DeviceFacts

GRID_LIMIT = 65_535
"""Largest second and third dimension of a CUDA grid; several kernels put batch x windows there."""
_AMPERE = (8, 0)
_NO_LARGE_BACKWARD = ((8, 6), (8, 9), (12, 0), (12, 1))
"""GPUs with too little shared memory for the backward pass of large heads."""
_TOO_LARGE = range(193, 225)


def missing(module: str, *, install: str, device_type: str, device_types: tuple[str, ...] = ("cuda",)) -> str | None:
    """Why ``module`` cannot be used on a device of that type, or None. Absent and broken are two answers.

    Args:
        module: What the backend imports, such as ``package.module``.
        install: The command that installs it.
        device_type: The device at hand.
        device_types: Those its kernels exist for.
    """
    package = module.partition(".")[0]
    if device_type not in device_types:
        return f"{package} has no kernels for {device_type} (allowed: {', '.join(device_types)})"
    if find_spec(package) is None:
        return f"{package} is not installed: {install}"
    try:
        importlib.import_module(module)
    except Exception as error:  # a binary built against another torch can fail in any way
        return f"{package} is installed but does not import: {type(error).__name__}: {error}"
    return None


def too_old(who: str) -> str | None:
    """Why FlashAttention-2 and cuDNN's kernel do not run on this GPU, or None."""
    if not torch.cuda.is_available() or (have := torch.cuda.get_device_capability()) >= _AMPERE:
        return None
    return f"{who} needs compute capability 8.0 or later, this GPU has {have[0]}.{have[1]}"


def half_precision(problem: Problem) -> list[str]:
    """For kernels of half precision alone."""
    if problem.dtype is Dtype.FLOAT32:
        return [f"dtype {problem.dtype} (allowed: float16, bfloat16)"]
    return []


def head_dim(problem: Problem, *, most: int, multiple: int = 1) -> list[str]:
    """For kernels that take heads up to ``most`` channels, a multiple of some number."""
    if problem.head_dim <= most and problem.head_dim % multiple == 0:
        return []
    multiples = f"multiples of {multiple} " if multiple > 1 else ""
    return [f"head_dim {problem.head_dim} (allowed: {multiples}up to {most})"]


def alignment(problem: Problem) -> list[str]:
    """For CUTLASS kernels, which load 16 bytes at a time."""
    elements = 16 // problem.dtype.bytes
    if problem.head_dim % elements:
        return [f"head_dim {problem.head_dim} (allowed: multiples of {elements} in {problem.dtype})"]
    return []


def grid(problem: Problem) -> list[str]:
    """For kernels with batch x windows in their CUDA grid."""
    sequences = problem.batch * problem.windows
    if sequences > GRID_LIMIT:
        return [f"batch x windows {sequences} (allowed: up to {GRID_LIMIT}, CUDA's grid limit)"]
    return []


def chunked_bias_gradient(problem: Problem) -> list[str]:
    """For torch's CUTLASS kernel: beyond the grid it works in chunks, and adds a chunk's gradient to the whole one."""
    if problem.has_bias and problem.mode is Mode.FORWARD_BACKWARD:
        return [f"{reason}, for the gradient of bias {problem.bias}" for reason in grid(problem)]
    return []


def bfloat16_arithmetic(problem: Problem, device: DeviceFacts) -> list[str]:
    """For kernels that have bfloat16 on GPUs with arithmetic for it."""
    if problem.dtype is Dtype.BFLOAT16 and device.capability is not None and device.capability < _AMPERE:
        return [f"dtype {problem.dtype} on compute capability {spelled(device.capability)} (allowed: 8.0 or later)"]
    return []


def flash_backward(problem: Problem, device: DeviceFacts) -> list[str]:
    """For torch's flash kernel on GPUs of consumers: torch's ``sdp_utils.cpp`` refuses their backward pass."""
    training = problem.mode is Mode.FORWARD_BACKWARD
    if training and problem.head_dim in _TOO_LARGE and device.capability in _NO_LARGE_BACKWARD:
        capability = spelled(device.capability)
        allowed = f"allowed: up to {_TOO_LARGE.start - 1}, or {_TOO_LARGE.stop} to 256"
        return [f"head_dim {problem.head_dim} with mode {problem.mode} on compute capability {capability} ({allowed})"]
    return []


def spelled(capability: tuple[int, int]) -> str:
    """A compute capability: ``8.6``."""
    return "{}.{}".format(*capability)


def no_bias(problem: Problem) -> list[str]:
    """For kernels that add nothing to the scores."""
    return [f"bias {problem.bias} (allowed: none)"] if problem.has_bias else []


def no_mask(problem: Problem) -> list[str]:
    """For kernels that take no mask."""
    reasons = []
    if problem.shifted:
        reasons.append(f"pattern {problem.pattern} needs a mask (allowed: grouped)")
    if problem.padded and problem.hides_padding:
        reasons.append(f"padding {problem.padding} of map {problem.resolution} needs a mask (allowed: zero)")
    return reasons


def no_bias_gradient(problem: Problem) -> list[str]:
    """For kernels without a gradient for their mask, in which the bias goes."""
    if problem.has_bias and problem.mode is Mode.FORWARD_BACKWARD:
        return [f"bias {problem.bias} with mode {problem.mode}: no gradient for it (allowed: bias none, or forward)"]
    return []
