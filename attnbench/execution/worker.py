"""The worker: a fresh process that checks and measures cases for a parent at the other end of a pipe.

It imports only torch, the standard library and attnbench's light modules. Whatever a backend prints, raises or
breaks stays in this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch

from attnbench.backends.registry import load
from attnbench.backends.whole_map import effective, refusals
from attnbench.errors import AttnbenchError
from attnbench.execution.case import measure_case
from attnbench.execution.failure import describe_error
from attnbench.execution.messages import (
    BackendAnswer,
    Describe,
    Described,
    Entered,
    Explain,
    Explained,
    MeasureCase,
    Message,
    Ready,
    Refused,
    decode,
    encode,
)
from attnbench.measure.environment import describe, gpu_uuid, make_current, resolve_device
from attnbench.measure.nvml import lend_library, managed_gpu
from attnbench.record import Launch

_PR_SET_PDEATHSIG = 1


def main(inbox: int, outbox: int, path: str = "", gpu_library: str = "") -> None:
    """Serve messages from file descriptor ``inbox``, answering on ``outbox``, until the parent closes its end.

    Args:
        inbox: Where requests come from.
        outbox: Where answers go.
        path: A directory that comes first on the Python path.
        gpu_library: The parent's file of the library that manages GPUs, for an environment that has none.
    """
    _die_first()
    faulthandler.enable()
    if path:  # and not the working directory: it may hold another revision of the same modules
        sys.path.insert(0, path)
    else:  # what a user's own modules are found by, after everything installed
        sys.path.append(str(Path.cwd()))
    if gpu_library and find_spec("pynvml") is None:
        lend_library(gpu_library)

    def send(message: Message) -> None:
        if isinstance(message, Entered):
            message = replace(message, spoken_bytes=os.fstat(1).st_size)
        data = encode(message)
        while data:
            data = data[os.write(outbox, data) :]

    # What the imports left is never garbage: without this, every collection before timing walks through all of it.
    gc.collect()
    gc.freeze()
    send(Ready())
    with os.fdopen(inbox, "rb") as lines:
        for line in lines:
            _answer(decode(line), send)


def _die_first() -> None:
    """Make this process the one that ends: with its parent, and before it when memory runs out."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _answer(message: Message, send: Callable[[Message], None]) -> None:
    match message:
        case Describe():
            send(_describe(message))
        case Explain():
            send(_explain(message))
        case MeasureCase():
            measure_case(message, send)
        case _:
            raise ValueError(f"a worker has no answer to {type(message).__name__}")


def _describe(asked: Describe) -> Message:
    torch.set_num_threads(asked.measure.threads)
    try:
        device = resolve_device(asked.device)
    except AttnbenchError as error:
        return Refused(message=str(error))
    if asked.measure.launch is Launch.GRAPH and device.type != "cuda":
        message = f"measure.launch graph: there are no CUDA graphs on {device} (allowed: eager)"
        return Refused(message=message, key=("measure", "launch"))
    make_current(device)
    gpu = managed_gpu(gpu_uuid(device))
    backends = tuple(_introduce(name, device.type) for name in asked.backends)
    return Described(
        environment=describe(device, asked.measure),
        backends=backends,
        device_id=gpu_uuid(device) or str(device),
        gpu=gpu.settings() if gpu else None,
        torch_is_debug_build=torch.version.debug,
    )


def _introduce(name: str, device_type: str) -> BackendAnswer:
    try:
        backend = load(name)
    except AttnbenchError as error:
        # A path was written by whoever runs the suite; a name by a package, which is broken then.
        if ":" in name:
            return BackendAnswer(name=name, invalid=str(error))
        return BackendAnswer(name=name, unavailable=str(error))
    try:
        unavailable = backend.unavailable(device_type)
        if unavailable is not None:
            unavailable = unavailable or "it gave no reason"
    except Exception as error:  # a third party's code
        unavailable = f"asking whether it is available raised {describe_error(error)}"
    file = getattr(sys.modules.get(backend.__module__), "__file__", None)
    return BackendAnswer(name=name, unavailable=unavailable, pattern=backend.pattern, file=file)


def _explain(asked: Explain) -> Message:
    backend = load(asked.backend)()
    reasons = [
        "; ".join(refusals(backend, effective(problem, backend), asked.device_type)) for problem in asked.problems
    ]
    return Explained(reasons=tuple(reasons))
