"""OpenMetrics text: gauges of the cells that are ok, and what a comparison says of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CollectorRegistry, GaugeMetricFamily, Metric, StateSetMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector

from attnbench.comparison.verdict import Comparison, Verdict
from attnbench.core.stats import Estimate
from attnbench.exports.cells import Measured
from attnbench.exports.escaping import legal
from attnbench.exports.results import Subject

_CELL = ("suite", "case", "backend")
_PROBLEM = ("device", "dtype", "mode", "pattern", "scope")
"""What does not change from one commit to the next: readers know a value by all its labels."""
_ENDS: dict[str, tuple[str, Callable[[Estimate], float | None]]] = {
    "": ("", lambda found: found.value),
    "_low": ("Lower end of the 95 % interval: ", lambda found: found.low),
    "_high": ("Upper end of the 95 % interval: ", lambda found: found.high),
}
Values = Iterable[tuple[tuple[str, ...], float]]
"""Label values, and what is measured."""


class _Families(Collector):
    """Hands over what was computed before; nothing is registered anywhere else."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def render(subject: Subject) -> str:
    """The document, without timestamps; failed cells have no gauges."""
    families = [*_of_cells(subject.measured())]
    if subject.comparison is not None:
        families += _of_comparison(subject.comparison)
    registry = CollectorRegistry()
    registry.register(_Families([family for family in families if family.samples]))
    return str(generate_latest(registry).decode())  # type: ignore[no-untyped-call]


def _of_cells(cells: list[Measured]) -> Iterator[Metric]:
    labels = (*_CELL, *_PROBLEM)
    keys = [tuple(legal(getattr(cell, name)) for name in labels) for cell in cells]
    for suffix, (which, end) in _ENDS.items():
        found = [(key, end(cell.latency_ms)) for key, cell in zip(keys, cells, strict=True)]
        seconds = ((key, milliseconds / 1e3) for key, milliseconds in found if milliseconds is not None)
        name = f"attnbench_latency{suffix}_seconds"
        yield _gauge(name, f"{which}Latency of one call.", labels, seconds, unit="seconds")
    peaks = ((key, cell.peak_bytes) for key, cell in zip(keys, cells, strict=True) if cell.peak_bytes is not None)
    peak = "Allocated at the peak of one call above what was held before."
    yield _gauge("attnbench_peak_memory_bytes", peak, labels, peaks, unit="bytes")
    rates = ((key, cell.images_per_s) for key, cell in zip(keys, cells, strict=True))
    images = ((key, rate.value) for key, rate in rates if rate is not None)
    yield _gauge("attnbench_images_per_second", "Images that go through in a second.", labels, images)


def _of_comparison(comparison: Comparison) -> Iterator[Metric]:
    ratios: dict[tuple[str, ...], Estimate] = {}
    verdicts: dict[tuple[str, ...], set[Verdict]] = {}
    for cell in comparison.cells:
        key = tuple(map(legal, (comparison.suite, cell.case, cell.backend)))
        # A case of another problem than before is removed and added under one name.
        verdicts.setdefault(key, set()).add(cell.verdict)
        if cell.ratio is not None:
            ratios.setdefault(key, cell.ratio)
    for suffix, (which, end) in _ENDS.items():
        ends = [(key, end(ratio)) for key, ratio in ratios.items()]
        yield _gauge(
            f"attnbench_ratio{suffix}",
            f"{which}Latency of the candidate over that of the base.",
            _CELL,
            ((key, value) for key, value in ends if value is not None),
        )
    states = StateSetMetricFamily("attnbench_verdict", "What became of a cell from base to candidate.", labels=_CELL)
    for key, found in verdicts.items():
        states.add_metric(key, {verdict: verdict in found for verdict in Verdict})
    yield states


def _gauge(name: str, documentation: str, labels: tuple[str, ...], values: Values, *, unit: str = "") -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=labels, unit=unit)
    for key, value in values:
        family.add_metric(key, value)
    return family
