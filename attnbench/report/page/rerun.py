"""The command that measures one cell again, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from attnbench.results.rows import Row
from attnbench.results.store import StoredRun

_SAME = ("batch", "heads", "head_dim", "dtype", "mode", "padding", "bias", "scope")


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """The parts of the commands of a run: the page puts them together for the cell that is asked for."""

    start: str
    backends: dict[str, str]
    """By label."""
    middle: str
    cases: dict[str, str]
    """By name."""
    end: str

    def command(self, case: str, backend: str) -> str:
        """A suite of the one case, with the baseline beside the backend, and the command that runs it."""
        return self.start + self.backends[backend] + self.middle + self.cases[case] + self.end


def rerun(run: StoredRun, rows: Sequence[Row]) -> Rerun:
    """The commands of all cells of a run.

    What a suite says is JSON, which YAML contains, inside a quoted here-document: nothing in it means anything to a
    shell.
    """
    device = str(run.environment.get("device", "auto"))
    labels = list(dict.fromkeys(row["backend"] for row in rows))
    entries = _entries(run)
    baseline = run.baseline if run.baseline in labels else None
    cases: dict[str, list[Row]] = {}
    for row in rows:
        cases.setdefault(row["case"], []).append(row)
    measure = run.suite.get("measure") or {}
    head = ["cat > cell.yaml <<'END'", 'name: "rerun"', f"device: {json.dumps(device)}"]
    if baseline is not None:
        head.append(f"baseline: {json.dumps(baseline)}")
    return Rerun(
        start="\n".join([*head, "backends: "]),
        backends={label: _backends(label, baseline, entries) for label in labels},
        middle="\ncases:\n- ",
        cases={name: json.dumps(_case(name, found)) for name, found in cases.items()},
        end=f"\nmeasure: {json.dumps(measure)}\nEND\nattnbench run cell.yaml\n",
    )


def _entries(run: StoredRun) -> dict[str, Any]:
    """By label, the suite's entries of backends that have more than a name."""
    listed = run.suite.get("backends")
    entries = listed if isinstance(listed, list) else []
    return {str(one.get("label", one.get("name"))): one for one in entries if isinstance(one, dict)}


def _backends(label: str, baseline: str | None, entries: dict[str, Any]) -> str:
    wanted = dict.fromkeys(name for name in (baseline, label) if name is not None)
    return json.dumps([entries.get(name, name) for name in wanted])


def _case(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    """The case as a suite spells it; its pattern is that of most of its rows."""
    row = rows[0]
    return {
        "name": name,
        "resolution": f"{row['height']}x{row['width']}",
        "window": f"{row['window_height']}x{row['window_width']}",
        **{field: row[field] for field in _SAME},
        "pattern": Counter(row["pattern"] for row in rows).most_common(1)[0][0],
    }
