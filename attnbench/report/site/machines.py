"""The newest run of a suite on every machine, side by side."""

from __future__ import annotations

from collections.abc import Mapping

from attnbench.report.answer import Answer
from attnbench.report.charts import runs
from attnbench.report.charts.chart import Palette
from attnbench.report.charts.runs import Moment
from attnbench.report.page.content import Chapter
from attnbench.report.page.figures import figures_of


def machines_chapter(suite: str, newest: Mapping[str, Moment]) -> Chapter | None:
    """Machines as a chapter; None where no two of them measured one case.

    Args:
        suite: Its name.
        newest: By machine, its newest run.
    """
    backends = dict.fromkeys(
        backend for moment in newest.values() for cells in moment.latencies.values() for backend in cells
    )
    charts = runs.machines(newest, Palette(backends=tuple(backends)))
    if not charts:
        return None
    wins: dict[str, dict[str, int]] = {machine: {} for machine in newest}
    for machine, moment in newest.items():
        for cells in moment.latencies.values():
            fastest = min(cells, key=lambda backend: cells[backend][0])
            wins[machine][fastest] = wins[machine].get(fastest, 0) + 1
    sentences = [
        f"{machine} ({newest[machine].started_at[:10]}): fastest by latency alone is "
        + ", ".join(f"{backend} in {count}" for backend, count in sorted(found.items(), key=lambda item: -item[1]))
        + f" of {sum(found.values())} cases."
        for machine, found in wins.items()
        if found
    ]
    return Chapter(
        ident="machines",
        heading=suite,
        answer=Answer(headline=f"{suite} on {len(newest)} machines", sentences=tuple(sentences)),
        figures=(figures_of("machines", charts),),
        backends=tuple(backends),
    )
