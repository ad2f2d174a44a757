"""The index of a site: a card for every suite on a machine, what changed first, and all runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attnbench.report.page.shell import Shell, template
from attnbench.report.site.cards import Sparkline, Verdicts, sparklines
from attnbench.report.site.summaries import Summary


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A suite on a machine."""

    runs: Sequence[Summary]
    """Oldest first."""
    page: str
    verdicts: Verdicts


@dataclass(frozen=True, kw_only=True)
class _Card:
    suite: str
    machine: str
    address: str
    headline: str
    runs: int
    newest: str
    verdicts: Verdicts
    lines: Sequence[Sparkline]
    text: str
    """What a search looks at."""


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A run in the list of all."""

    started: str
    suite: str
    machine: str
    headline: str
    incomplete: str
    measured: int
    cells: int
    broken: int
    torch: str
    commit: str
    address: str
    text: str


def write_index(
    shown: Sequence[Shown], machines: Sequence[tuple[str, str]], left_out: Sequence[tuple[str, str]], shell: Shell
) -> str:
    """The index as text.

    Args:
        shown: Every suite on every machine.
        machines: Suites that several machines measured, with the addresses of their pages.
        left_out: Runs that are not on the site, and why.
        shell: The page's style and scripts.
    """
    cards = sorted(map(_card, shown), key=lambda card: card.newest, reverse=True)
    cards.sort(key=lambda card: not card.verdicts.changed)
    runs = sorted((_line(run) for one in shown for run in one.runs), key=lambda line: line.started, reverse=True)
    return template("index.html").render(
        shell=shell,
        cards=cards,
        runs=runs,
        suites={card.suite for card in cards},
        machines=machines,
        left_out=left_out,
    )


def _card(shown: Shown) -> _Card:
    newest = shown.runs[-1]
    lines = sparklines([run.moment for run in shown.runs])
    backends = [line.backend for line in lines]
    return _Card(
        suite=newest.suite,
        machine=newest.machine,
        address=shown.page,
        headline=newest.headline,
        runs=len(shown.runs),
        newest=newest.moment.started_at[:16].replace("T", " "),
        verdicts=shown.verdicts,
        lines=lines,
        text=" ".join([newest.suite, newest.machine, newest.headline, newest.moment.torch, *backends]),
    )


def _line(run: Summary) -> _Line:
    moment = run.moment
    return _Line(
        started=moment.started_at[:19].replace("T", " ") or run.place,
        suite=run.suite,
        machine=run.machine,
        headline=run.headline,
        incomplete=run.incomplete,
        measured=run.measured,
        cells=run.cells,
        broken=run.broken,
        torch=moment.torch,
        commit=moment.commit,
        address=run.page,
        text=f"{run.suite} {run.machine} {run.headline} {moment.torch} {moment.commit} {run.place}",
    )
