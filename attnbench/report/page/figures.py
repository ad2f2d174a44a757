"""The charts of a page by kind, with what a reader must know of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attnbench.report.charts.chart import Chart

MOST_CHARTS = 48
"""Charts of one kind; who needs more takes ``plot``."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Charts of one kind, in groups of which one is shown."""

    ident: str
    title: str
    caption: str
    groups: Mapping[str, Sequence[Chart]]
    """By what a reader chooses, such as the axis; one group alone needs no choice."""


def figures_of(ident: str, charts: Mapping[str, Sequence[Chart]] | Sequence[Chart]) -> Figures:
    """Charts of one of the kinds below, as many as a page should hold."""
    named = charts if isinstance(charts, Mapping) else {"": charts}
    most, caption = max(map(len, named.values()), default=0), _CAPTIONS[ident]
    if most > MOST_CHARTS:
        caption += f" The first {MOST_CHARTS} charts; attnbench plot draws the others."
    limited = {name: tuple(group[:MOST_CHARTS]) for name, group in named.items()}
    return Figures(ident=ident, title=_TITLES[ident], caption=caption, groups=limited)


_TITLES = {
    "ratios": "Changed since earlier runs",
    "history": "History",
    "latency": "Latency",
    "exponents": "How cost grows",
    "winners": "Who wins where",
    "profile": "How often near the fastest",
    "roofline": "Roofline",
    "breakdown": "Where the time goes",
    "throughput": "Throughput",
    "memory": "Peak memory",
    "machines": "Machines side by side",
}
_CAPTIONS = {
    "ratios": (
        "The newest run against the earlier ones of this machine, worst first, with 95 % intervals; right of 1 is "
        "slower. The verdicts are those of attnbench compare."
    ),
    "history": (
        "A ring marks the first run after a change, and what the newest run regressed, improved or made suspect; a "
        "square a change that was accepted."
    ),
    "latency": (
        "Lower is better; scales are logarithmic. Bars are 95 % intervals over fresh processes, drawn up to a factor "
        "of 3. Bars that overlap need not be a tie: ratios are paired by process, and their intervals, in the tables "
        "above, are narrower. A dashed line grows with k1 k2 H W d (Twins, Chu et al. 2021, section 3.2), through the "
        "fastest latency of the largest size."
    ),
    "exponents": (
        "The slope of log latency over log size, with its 95 % interval over processes. The dashed line is what "
        "k1 k2 H W d predicts: 1 with fixed windows, 2 where one window is the whole map. Below it, fixed costs of a "
        "call weigh on small sizes; above it, large sizes leave a cache."
    ),
    "winners": (
        "The fastest backend, and below it how many times as slow the next is that is surely slower. Grey is a tie: "
        "below it stands the backend that it cannot be told from."
    ),
    "profile": (
        "Higher is better: the share of cases in which a backend takes at most p times the time of the fastest. What "
        "a backend cannot compute counts as infinitely slow."
    ),
    "roofline": (
        "Every cell under the ceilings measured in this run. Work is what the problem asks for, by formula; what stays "
        "in a cache may lie above the slope."
    ),
    "breakdown": (
        "Of problems that were measured at several scopes: attention alone, with the layout of windows around it, and "
        "with the projections of a layer. The parts are differences of cells, without intervals; below zero counts as "
        "zero."
    ),
    "throughput": "Higher is better: tokens of all maps per second.",
    "memory": "Lower is better: what one call allocates above what was held before.",
    "machines": "The newest run of this suite on every machine.",
}
