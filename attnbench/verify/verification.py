"""All checks in order."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from attnbench.core.errors import AttnbenchError, BusyError, InterruptedRunError
from attnbench.core.record import Measure
from attnbench.core.verification import Figure
from attnbench.run.process_pool import ProcessPool
from attnbench.verify import end_to_end
from attnbench.verify.checks import Verification
from attnbench.verify.torch_checks import checked_inside

_INSIDE = ("reference", "published", "memory", "agreement", "cold", "copy", "product")
_PAIRS = ("slowdown", "a/a")
_Step = tuple[str, tuple[str, ...], Callable[[], Iterator[Figure]]]


def verify(device: str, directory: Path, *, quick: bool, shown: Callable[[str], None]) -> Verification:
    """Check the harness on a device.

    Args:
        device: ``auto``, or as torch spells it.
        directory: For the runs that are made on the way.
        quick: Whether to leave out the A/B, which takes most of the time.
        shown: Takes a line that says what is being done.

    Raises:
        RefusedError: There is no such device.
        BusyError: Another run has the device.
        InterruptedRunError: The user stopped it.
    """
    began = time.monotonic()
    load = os.getloadavg()[0] / len(os.sched_getaffinity(0))
    with closing(ProcessPool(Measure(threads=1))) as pool:
        environment = pool.describe(device).environment
    device = environment.device
    figures: list[Figure] = []
    for what, checks, step in _steps(device, directory, quick=quick):
        shown(what)
        try:
            figures += step()
        except (BusyError, InterruptedRunError):
            raise
        except AttnbenchError as error:
            missing = [name for name in checks if all(figure.check != name for figure in figures)]
            figures += [Figure(check=name, broken=str(error)) for name in missing]
    if quick:
        figures += [Figure(check=name, absent="left out by --quick") for name in _PAIRS]
    return Verification(
        device=device,
        device_name=environment.device_name,
        torch=environment.torch,
        figures=tuple(figures),
        elapsed_s=time.monotonic() - began,
        load=load,
    )


def _steps(device: str, directory: Path, *, quick: bool) -> Iterator[_Step]:
    yield (
        "a run of backends that take a known time or fail",
        ("known time", "faults", "leftovers"),
        lambda: end_to_end.known_time_and_faults(device, directory),
    )
    if device.startswith("cuda"):
        yield "a CUDA graph", ("faults",), lambda: end_to_end.graph_capture(device, directory)
    if not quick:
        yield (
            "an A/B of a backend beside a slower one, and beside itself",
            _PAIRS,
            lambda: end_to_end.pairs(device, directory),
        )
    yield "reference, memory, clocks and ceilings", _INSIDE, lambda: checked_inside(device, _INSIDE)
