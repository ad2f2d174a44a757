"""The benchmarking harness for windowed attention.

``run`` measures a suite and ``load`` reads stored runs, both as a pandas data frame; ``samples`` has every sample, and
``best`` names the backend to use. A plot in one line::

    attnbench.load("latest").query("status == 'ok'").plot.bar(x="backend", y="latency_ms")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnbench import layer as layer
    from attnbench import testing as testing
    from attnbench.analysis.recommendation import best as best
    from attnbench.results.frames import load as load
    from attnbench.results.frames import samples as samples
    from attnbench.run.runner import run as run

__all__ = ["__version__", "best", "layer", "load", "run", "samples", "testing"]

__version__ = "0.1.0"

_FUNCTIONS = {
    "best": "attnbench.analysis.recommendation",
    "load": "attnbench.results.frames",
    "samples": "attnbench.results.frames",
}
_MODULES = ("layer", "run", "testing")  # run is a function, too


def __getattr__(name: str) -> Any:
    # Workers and `--help` import this package, too, and must not pay for pandas or torch.
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    if name in _MODULES:
        return import_module(f"attnbench.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
