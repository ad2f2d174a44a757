"""The findings of ``doctor`` as a sheet of one screen."""

from __future__ import annotations

from attnbench.core.text import GIBIBYTE, MEBIBYTE, plural
from attnbench.doctor.diagnosis import Facts, diagnose
from attnbench.report.layout import Column, Grid, Sheet

_LONGEST_COMMAND = 26
"""A command to be copied stays in one line."""


def doctor_table(facts: Facts) -> Sheet:
    """Lay out a machine and its problems."""
    findings = diagnose(facts)
    problems = sum(bool(finding.advice) for finding in findings)
    columns = {
        "": ["!" if finding.advice else "ok" for finding in findings],
        "what": [finding.topic for finding in findings],
        "found": [finding.found for finding in findings],
        "what to do": [finding.advice for finding in findings],
    }
    grid = Grid(
        title=plural(problems, "problem") if problems else "no problems",
        columns=tuple(
            Column(
                header=header,
                cells=tuple(cells),
                numeric=False,
                wraps=header in ("found", "what to do"),
                least=_LONGEST_COMMAND if header == "what to do" else Column.least,
            )
            for header, cells in columns.items()
        ),
    )
    return Sheet(heading=_machine(facts), grids=(grid,), notes=())


def _machine(facts: Facts) -> str:
    environment = facts.environment
    parts = [
        environment.device_name,
        f"{plural(environment.cores, 'core')} ({environment.flags.get('cpu_capability', '?')})",
        f"{environment.memory_bytes / GIBIBYTE:.0f} GiB",
        f"last-level cache {environment.cache_bytes / MEBIBYTE:.0f} MiB",
        f"torch {environment.torch}",
        f"Python {environment.python}",
    ]
    if environment.device_memory_bytes is not None:
        parts[1:1] = [
            f"{environment.device_memory_bytes / GIBIBYTE:.0f} GiB",
            f"compute capability {environment.capability}",
            f"driver {environment.driver}",
            environment.cpu_name,
        ]
    return ", ".join(map(str, parts))
