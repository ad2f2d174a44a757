"""OpenMetrics text: gauges of the ok cells; of a comparison also ratios and verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter

from prometheus_client.core import CollectorRegistry, GaugeMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector

from attnbench.comparison.definitions import Comparison, Verdict
from attnbench.core.escaping import label
from attnbench.core.stats import Estimate
from attnbench.exports.results import ComparisonResults, MeasuredCell, Results

_CELL = ("suite", "case", "backend")
_PROBLEM = ("device", "dtype", "mode", "pattern", "scope")
"""Labels identify a time series, so these hold nothing that differs from commit to commit."""
_ENDS = {
    "": ("", attrgetter("value")),
    "_low": ("Lower end of the 95 % interval: ", attrgetter("low")),
    "_high": ("Upper end of the 95 % interval: ", attrgetter("high")),
}
"""By suffix of a metric's name: what its documentation begins with, and the part of an estimate that it holds."""
Labels = tuple[str, ...]


class _Families(Collector):
    """Metric families that were computed before."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def render(results: Results) -> str:
    """The document as text, without timestamps; failed cells have no gauges."""
    families = list(_of_cells(results.measured()))
    if isinstance(results, ComparisonResults):
        families += _of_comparison(results.comparison)
    registry = CollectorRegistry()
    registry.register(_Families([family for family in families if family.samples]))
    return str(generate_latest(registry).decode())  # type: ignore[no-untyped-call]


def _of_cells(cells: list[MeasuredCell]) -> Iterator[Metric]:
    labels = (*_CELL, *_PROBLEM)
    found = {tuple(label(getattr(cell, name)) for name in labels): cell for cell in cells}
    for suffix, (which, end) in _ENDS.items():
        ends_ms = {key: end(cell.latency_ms) for key, cell in found.items()}
        seconds = {key: None if ms is None else ms / 1e3 for key, ms in ends_ms.items()}
        name = f"attnbench_latency{suffix}_seconds"
        yield _gauge(name, f"{which}Latency of one call.", labels, seconds, unit="seconds")
    peaks = {key: cell.peak_bytes for key, cell in found.items()}
    memory = "Allocated at the peak of one call above what was held before."
    yield _gauge("attnbench_peak_memory_bytes", memory, labels, peaks, unit="bytes")
    rates = {key: None if cell.images_per_s is None else cell.images_per_s.value for key, cell in found.items()}
    yield _gauge("attnbench_images_per_second", "Images per second.", labels, rates)


def _of_comparison(comparison: Comparison) -> Iterator[Metric]:
    ratios: dict[Labels, Estimate] = {}
    verdicts: dict[Labels, set[Verdict]] = {}
    for cell in comparison.cells:
        key = tuple(map(label, (comparison.suite, cell.case, cell.backend)))
        # A case whose problem changed is both removed and added, under one name.
        verdicts.setdefault(key, set()).add(cell.verdict)
        if cell.ratio is not None:
            ratios.setdefault(key, cell.ratio)
    for suffix, (which, end) in _ENDS.items():
        ends = {key: end(ratio) for key, ratio in ratios.items()}
        documentation = f"{which}Latency of the candidate over that of the base."
        yield _gauge(f"attnbench_ratio{suffix}", documentation, _CELL, ends)
    # A gauge for every verdict, 0 or 1: Prometheus' own parser knows no state sets.
    states = GaugeMetricFamily("attnbench_verdict", "1 where it is the verdict on a cell.", labels=(*_CELL, "verdict"))
    for key, found in verdicts.items():
        for verdict in Verdict:
            states.add_metric((*key, verdict), float(verdict in found))
    yield states


def _gauge(
    name: str, documentation: str, labels: Labels, values: Mapping[Labels, float | None], *, unit: str = ""
) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=labels, unit=unit)
    for key, value in values.items():
        if value is not None:
            family.add_metric(key, value)
    return family
