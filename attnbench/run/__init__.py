"""The parent of a run: it plans, starts processes, gives turns and keeps the journal. It never imports torch.

``attnbench.run(suite)`` is a function of the package's interface, too: this module can be called.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


class _Run(ModuleType):
    def __call__(self, suite: str | Path, output: str | Path | None = None) -> pd.DataFrame:
        """Run a suite and return its table, one row per cell (columns: ``attnbench.results.table.COLUMNS``).

        Args:
            suite: A suite's file, or the name of one that comes with attnbench.
            output: The run directory; by default a new one under ``results/``.

        Raises:
            AttnbenchError: One sentence saying what is wrong. A cell that fails is a row, not an error.
            KeyboardInterrupt: The run was interrupted; its directory holds what was measured.
        """
        from attnbench.run.runner import run

        return run(suite, output)


# The module's own name is the function's; importing any part of it must not hide the function.
sys.modules[__name__].__class__ = _Run
