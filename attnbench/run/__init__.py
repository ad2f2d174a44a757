"""The parent of a run: it plans, starts processes, gives turns and keeps the journal. It never imports torch.

``attnbench.run(suite)`` is a function of the package's interface, too: this module can be called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from attnbench.run.events import Event


class _Run(ModuleType):
    def __call__(
        self,
        suite: str | Path | Mapping[str, Any],
        output: str | Path | None = None,
        *,
        wait: bool = False,
        progress: bool | Callable[[Event], None] = False,
        **overrides: Any,
    ) -> pd.DataFrame:
        """Run a suite and return its table, one row per cell, with the columns of ``attnbench.load``.

        ``run("quick", device="cpu", measure={"processes": 1}).query("status == 'ok'").plot.bar(x="backend",
        y="latency_ms")`` measures and plots in one line. The column ``run`` says where everything was stored.

        Args:
            suite: A suite's file, the name of one that comes with attnbench, or its content as a dict.
            output: The run directory; by default a new one under ``results/``.
            wait: Whether to wait where another run has the device.
            progress: True to print a line to stderr for every cell, or a function that is called with every event.
            **overrides: Keys of the suite with other values; a mapping changes the keys that it names.

        Raises:
            AttnbenchError: One sentence saying what is wrong. A cell that fails is a row, not an error.
            KeyboardInterrupt: The run was interrupted; its directory holds what was measured.
        """
        from attnbench.run.runner import run

        return run(suite, output, wait=wait, progress=progress, **overrides)


# The module's own name is the function's; importing any part of it must not hide the function.
sys.modules[__name__].__class__ = _Run
