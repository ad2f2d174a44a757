"""A stored run as a sheet: the answer, then one table per case, fastest first; reasons of failures stand in notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from attnbench.analysis.ranking import by_case, contests
from attnbench.core.record import Status
from attnbench.core.stats import Estimate, paired_ratio
from attnbench.core.text import plural
from attnbench.report.answer_table import UNSURE, answer_grid, speed_up_text
from attnbench.report.layout import Column, Grid, Sheet
from attnbench.report.notes import notes, unavailable_everywhere
from attnbench.report.numbers import NOTHING, interval_of, mebibytes, ratio_interval, relative_error, rounded, spelled
from attnbench.results.rows import Row, function_of, is_ok, latency_of, missing, rows_of
from attnbench.results.store import StoredRun
from attnbench.results.table import processes_of

_FASTEST, _TIED = "fastest", "tie"


def run_table(run: StoredRun, *, baseline: str | None = None) -> Sheet:
    """Lay out a run.

    Args:
        run: What to show.
        baseline: The backend that speed-ups refer to; by default the suite's.
    """
    baseline = baseline or run.baseline
    shown = _Shown.of(run, baseline)
    answered = answer_grid(run, baseline=baseline)
    grids = [answered] if answered else []
    absent = unavailable_everywhere(run.rows)
    for case, every in run.table.groupby("case", sort=False):
        present = every[~every["backend"].isin(absent)]
        cells = every if present.empty else present
        ordered = cells.assign(failed=cells["status"] != Status.OK).sort_values(["failed", "latency_ms", "backend"])
        rows = rows_of(ordered)
        columns = tuple(_Case(rows=rows, shown=shown).columns())
        grids.append(Grid(title=str(case), subtitle=_problem(rows, baseline), columns=columns))
    said = (*_legend(grids, baseline), *notes(run, baseline=baseline))
    return Sheet(heading=heading(run), question=run.question, grids=tuple(grids), notes=said)


def _legend(grids: Sequence[Grid], baseline: str | None) -> list[str]:
    """What the signs mean that stand in the tables."""
    texts = [text for grid in grids for column in grid.columns for text in column.cells]
    headers = {column.header for grid in grids for column in grid.columns}
    told = []
    if f"vs {baseline}" in headers:
        told.append(f"vs {baseline}: how many times as fast as {baseline}.")
    if any(text.startswith(UNSURE) for text in texts):
        told.append(f"{UNSURE} before a speed-up: its 95 % interval, paired by process, contains 1x.")
    if _TIED in texts:
        told.append(f"{_TIED}: the 95 % interval of its latency over that of the fastest contains 1.")
    return told


def heading(run: StoredRun) -> str:
    """The suite, the machine and the settings that all cells share."""
    environment = run.environment
    suites = [name for name in (*run.table["suite"].unique(), run.suite.get("name"), run.path.name) if name]
    parts = [str(suites[0])]
    if environment:
        parts += [
            environment["device_name"],
            environment["device"],
            plural(environment["threads"], "CPU thread"),
            f"torch {environment['torch']}",
            f"{environment['cache']} cache",
            environment["started_at"][:16].replace("T", " ") + " UTC",
        ]
    return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """What the tables of all cases show, so that they have the same columns."""

    baseline: str | None
    paired: bool
    """Whether the latencies of processes are known."""
    intervals: bool
    flags: bool
    joules: bool
    places: bool
    """Whether anything is fastest: two backends of a case computed the same."""
    giga: bool
    """Whether rates are in GFLOP/s, for CPUs, rather than TFLOP/s."""

    @classmethod
    def of(cls, run: StoredRun, baseline: str | None) -> _Shown:
        table = run.table
        fastest = table["tflops"].max()
        return cls(
            baseline=baseline,
            paired=bool((table["process_latencies_ms"] != "").any()),
            intervals=bool((table["processes"].fillna(0) > 1).any()),
            flags=bool((table["flags"] != "").any()),
            joules=bool(table["joules_per_image"].notna().any()),
            places=any(len(contest.standings) > 1 for contest in contests(rows_of(table))),
            giga=not missing(fastest) and float(fastest) < 1,
        )


@dataclass(frozen=True, kw_only=True)
class _Case:
    """The rows of one case; columns stand in the order from left to right."""

    rows: Sequence[Row]
    shown: _Shown

    def columns(self) -> Iterator[Column]:
        """Of the backends, their latencies and speed-ups."""
        baseline, shown = self.shown.baseline, self.shown
        references = {function_of(row): row for row in self.rows if row["backend"] == baseline and is_ok(row)}
        speed_ups = {
            row["backend"]: _speed_up(row, references.get(function_of(row))) for row in self.rows if is_ok(row)
        }
        yield self._described("backend")
        if self.shown.places:
            places = _places(self.rows)
            yield Column(
                header="", cells=tuple(places.get(row["backend"], "") for row in self.rows), numeric=False, marks=True
            )
        yield Column(header="latency ms", cells=tuple(map(_latency, self.rows)))
        if baseline:
            yield self._column(f"vs {baseline}", 0, lambda row: _times(row, baseline, speed_ups[row["backend"]]))
        if len({row["pattern"] for row in self.rows}) > 1:
            yield self._described("pattern")
        if shown.intervals:
            yield self._column("95 % interval", 3, lambda row: interval_of(latency_of(row)))
        if shown.intervals and baseline and shown.paired:
            yield self._column(f"95 % of vs {baseline}", 2, lambda row: ratio_interval(speed_ups[row["backend"]]))
        if shown.flags:
            yield replace(self._column("flags", 4, lambda row: row["flags"], numeric=False), wraps=True, least=12)
        yield from self._metrics()

    def _metrics(self) -> Iterator[Column]:
        yield self._column("peak MiB", 1, lambda row: mebibytes(row["peak_bytes"]))
        yield self._from_latency("% of roofline", 5, "roofline_fraction")
        yield self._from_latency("images/s", 6, "images_per_s")
        if self.shown.joules:
            yield self._number("J/image", 7, "joules_per_image")
        yield self._from_latency("GB/s", 8, "gbytes_per_s")
        yield self._number("max error", 11, "max_error")
        yield self._number("min ms", 12, "latency_min_ms")
        yield self._number("samples", 13, "samples")
        yield self._number("prepare s", 14, "prepare_s")
        rate, factor = ("GFLOP/s", 1e3) if self.shown.giga else ("TFLOP/s", 1)
        yield self._from_latency(rate, 9, "tflops", factor=factor)
        yield self._column("kernel", 10, lambda row: row["kernel"], numeric=False)

    def _described(self, name: str) -> Column:
        return Column(header=name, cells=tuple(row[name] for row in self.rows), numeric=False)

    def _column(self, header: str, rank: int, text: Callable[[Row], str], *, numeric: bool = True) -> Column:
        cells = tuple(text(row) if is_ok(row) else NOTHING for row in self.rows)
        return Column(header=header, cells=cells, numeric=numeric, rank=rank)

    def _number(self, header: str, rank: int, name: str) -> Column:
        return self._column(header, rank, lambda row: spelled(name, row[name]))

    def _from_latency(self, header: str, rank: int, name: str, *, factor: float = 1) -> Column:
        """A number with the relative error of the latency."""

        def text(row: Row) -> str:
            if missing(row[name]):  # a cell whose ceilings do not hold has no part of them
                return NOTHING
            return spelled(name, row[name] * factor, relative_error(row))

        return self._column(header, rank, text)


def _speed_up(row: Row, reference: Row | None) -> Estimate | None:
    """How many times as fast as the baseline, paired by process if processes are known."""
    if reference is None or reference["backend"] == row["backend"]:
        return None
    plain = Estimate(value=reference["latency_ms"] / row["latency_ms"], low=None, high=None)
    return paired_ratio(processes_of(reference), processes_of(row)) or plain


def _times(row: Row, baseline: str, speed_up: Estimate | None) -> str:
    return "1x" if row["backend"] == baseline else speed_up_text(speed_up)


def _places(rows: Sequence[Row]) -> dict[str, str]:
    """Who is fastest or ties with it, by backend: in words, because not every terminal has colours."""
    contest = next(iter(by_case(contests(rows)).values()))
    if len(contest.standings) < 2:  # noqa: PLR2004 - nothing to be faster than
        return {}
    return {standing.backend: _FASTEST if place == 0 else _TIED for place, standing in enumerate(contest.winners)}


def _latency(row: Row) -> str:
    if not is_ok(row):
        return str(row["status"])
    latency = latency_of(row)
    return rounded(latency.value, latency.uncertainty)


def _problem(rows: Sequence[Row], baseline: str | None) -> str:
    """The problem of a case; its pattern is that of the baseline or of most rows."""
    patterns = [row["pattern"] for row in rows if row["backend"] == baseline] or [row["pattern"] for row in rows]
    row = rows[0]
    return (
        f"batch {row['batch']}, map {row['height']}x{row['width']}, "
        f"window {row['window_height']}x{row['window_width']}, {row['heads']} heads of {row['head_dim']}, "
        f"{row['dtype']}, {row['mode'].replace('_', ' and ')}, {Counter(patterns).most_common(1)[0][0]}, "
        f"{row['padding']} padding, bias {row['bias']}, scope {row['scope']}"
    )
