"""What ``doctor`` found, as a sheet of one screen."""

from __future__ import annotations

from attnbench.doctor.diagnosis import Facts, diagnose
from attnbench.report.layout import Column, Grid, Sheet

_GIBIBYTE = 2**30
_LONGEST_COMMAND = 26
"""A command to be copied stays in one line."""


def doctor_table(facts: Facts) -> Sheet:
    """Lay out what the machine is and what would make its numbers bad."""
    findings = diagnose(facts)
    wrong = sum(bool(finding.advice) for finding in findings)
    grid = Grid(
        title=f"{wrong} of {len(findings)} things to mend" if wrong else "nothing to mend",
        columns=(
            Column(header="", cells=tuple("!" if finding.advice else "ok" for finding in findings), numeric=False),
            Column(header="what", cells=tuple(finding.topic for finding in findings), numeric=False),
            Column(header="found", cells=tuple(finding.found for finding in findings), numeric=False, wraps=True),
            Column(
                header="what to do",
                cells=tuple(finding.advice for finding in findings),
                numeric=False,
                wraps=True,
                least=_LONGEST_COMMAND,
            ),
        ),
    )
    return Sheet(heading=_machine(facts), question="What would make numbers bad here?", grids=(grid,), notes=())


def _machine(facts: Facts) -> str:
    known = facts.environment
    parts = [
        known.device_name,
        f"{known.cores} cores ({known.flags.get('cpu_capability', '?')})",
        f"{known.memory_bytes / _GIBIBYTE:.0f} GiB",
        f"last-level cache {known.cache_bytes / 2**20:.0f} MiB",
        f"torch {known.torch}",
        f"Python {known.python}",
    ]
    if known.device_memory_bytes is not None:
        parts[1:1] = [
            f"{known.device_memory_bytes / _GIBIBYTE:.0f} GiB",
            f"compute capability {known.capability}",
            f"driver {known.driver}",
            known.cpu_name,
        ]
    return ", ".join(map(str, parts))
