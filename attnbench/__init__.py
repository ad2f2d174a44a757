"""The benchmarking harness for windowed attention."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnbench import layer as layer
    from attnbench import testing as testing
    from attnbench.analysis.recommendation import best as best
    from attnbench.results.store import load as load
    from attnbench.run.runner import run as run

__all__ = ["__version__", "best", "layer", "load", "run", "testing"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Workers and `--help` import this package, too, and must not pay for pandas or torch.
    if name == "load":
        return import_module("attnbench.results.store").load
    if name == "best":
        return import_module("attnbench.analysis.recommendation").best
    if name in ("layer", "run", "testing"):  # run is a function, too
        return import_module(f"attnbench.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # What is imported only when it is asked for is offered by completion, too.
    return sorted({*globals(), *__all__})
