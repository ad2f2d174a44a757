"""How long pages and sites take to write and until they can be used, and how large they are: run as a script.

Seconds are those of whole processes, imports included: on the clock, and of CPU time, which a loaded machine stretches
less. ``python -m tests.benchmarks.pages``
"""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attnbench.core.problem import Dtype, Pattern, Problem
from attnbench.core.record import Environment, Record, Status
from attnbench.results.store import write_tables
from tests.report.browser import chromium
from tests.samples import environment, failed, problem, record

SPEEDS = {
    "naive": 2.0, "sdpa": 1.0, "sdpa_math": 2.5, "sdpa_flash": 1.05, "sdpa_efficient": 1.1, "sdpa_cudnn": 1.2,
    "sdpa_5d": 2.4, "xformers": 0.98, "flash_attn": 0.95, "swin": 1.3,
}  # fmt: skip
FIXED_MS = 0.02
STAGES = ((56, 2), (28, 4), (14, 8), (7, 16), (28, 3))
Cases = Sequence[tuple[str, Problem]]


@dataclass(frozen=True, kw_only=True)
class Took:
    """What a process took."""

    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        return f"{self.wall_s:.1f} s, {self.cpu_s:.1f} s of CPU time"


def command(*arguments: str, **variables: str) -> Took:
    """Run attnbench as a process of its own."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "attnbench", *arguments],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **variables},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(wall_s=time.perf_counter() - began, cpu_s=cpu_s)


def large() -> Cases:
    """1,000 cases: with ten backends, 10,000 cells."""
    axes = itertools.product(
        (1, 2, 4, 8, 16), (14, 28, 42, 56, 70), ((2, 2), (7, 7), (14, 14), (7, 14)), (1, 2, 3, 4, 6), tuple(Dtype)[:2]
    )
    return [
        (
            f"batch {batch}, resolution {side}, window {window[0]}x{window[1]}, heads {heads}, {dtype}",
            problem(batch=batch, height=side, width=side, window_height=window[0], window_width=window[1], heads=heads,
                    dtype=dtype),
        )
        for batch, side, window, heads, dtype in axes
    ]  # fmt: skip


def small() -> Cases:
    """Ten cases: 100 cells."""
    return [
        (f"resolution {side}, {dtype}", problem(height=side, width=side, dtype=dtype))
        for side, dtype in itertools.product((14, 28, 56, 112, 224), tuple(Dtype)[:2])
    ]


def stages() -> Cases:
    """Five cases, as ``quick`` has: 50 cells."""
    return [
        (f"stage {number}", problem(height=side, width=side, heads=heads))
        for number, (side, heads) in enumerate(STAGES)
    ]


def records(cases: Cases, *, processes: int, scatter: random.Random, slowed: float = 1.0) -> Iterator[Record]:
    total = len(cases) * len(SPEEDS)
    for process in range(processes):
        for place, ((name, asked), (backend, speed)) in enumerate(itertools.product(cases, SPEEDS.items())):
            if backend == "sdpa_cudnn":
                if process == 0:
                    why = "torch has no cuDNN kernel on cpu (allowed: cuda)"
                    yield failed(backend, Status.UNAVAILABLE, why, name, problem=asked, position=place, cells=total)
                continue
            work = asked.batch * asked.height * asked.width * asked.heads * asked.window_height**0.3 * 1e-4
            latency_ms = (FIXED_MS + work * speed) * scatter.lognormvariate(0, 0.02)
            latency_ms *= slowed if backend == "naive" else 1.0
            computed = replace(asked, pattern=Pattern.SHIFTED) if backend == "swin" else asked
            samples_ms = tuple(latency_ms * (1 + scatter.random() / 50) for _ in range(20))
            yield record(backend, name, latency_ms, problem=computed, round=process, position=place, cells=total,
                         samples_ms=samples_ms)  # fmt: skip


def write_run(directory: Path, suite: str, found: Iterator[Record], facts: Environment) -> None:
    directory.mkdir(parents=True)
    with (directory / "journal.jsonl").open("w") as journal:
        journal.writelines(json.dumps(one.to_json(), separators=(",", ":")) + "\n" for one in found)
    listed = {"name": suite, "baseline": "naive", "backends": list(SPEEDS), "measure": {"processes": 3}}
    (directory / "suite.yaml").write_text(json.dumps(listed))
    (directory / "environment.json").write_text(json.dumps(facts.to_json()))
    write_tables(directory)


def write_nights(
    directory: Path,
    count: int,
    *,
    machines: Sequence[str] = ("epyc", "m2", "grace", "xeon"),
    suites: Sequence[str] = ("quick", "sweep"),
) -> list[Path]:
    """Nights of some suites on some machines in turn; ``naive`` gets slower at the end."""
    scatter, found = random.Random(count), []
    for night in range(count):
        machine, suite = machines[night % len(machines)], suites[night // len(machines) % len(suites)]
        started = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=7 * night)
        facts = replace(environment(), machine=machine, device_name=machine, started_at=started.isoformat())
        place = directory / suite / machine / f"{night:04}"
        slowed = 1.2 if night > 0.7 * count else 1.0
        write_run(place, suite, records(stages(), processes=3, scatter=scatter, slowed=slowed), facts)
        found.append(place)
    return found


def usable(page: Path) -> tuple[float, float, float]:
    """Seconds until a page answers, until all its charts are drawn, and that a filter takes, in a headless Chromium."""
    with chromium() as browser:
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.goto(page.as_uri())
        opened.wait_for_function("document.documentElement.dataset.drawn === 'yes'", timeout=120_000)
        answered = opened.evaluate("performance.getEntriesByName('usable')[0].startTime")
        drawn = opened.evaluate("performance.now()")
        filtered = opened.evaluate(
            """async () => {
                const began = performance.now();
                document.querySelector("#filters input").click();
                await new Promise((go) => requestAnimationFrame(() => setTimeout(go)));
                return performance.now() - began;
            }"""
        )
    return answered / 1e3, drawn / 1e3, filtered / 1e3


def main() -> None:
    print(f"load of the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for title, cases in (("100", small()), ("10,000", large())):
            run, page = directory / title, directory / f"{title}.html"
            write_run(run, "cells", records(cases, processes=3, scatter=random.Random(1)), environment())
            if title == "100":
                first = command("report", str(run), "-o", str(page), XDG_CACHE_HOME=str(directory / "cache"))
                print(f"report of {title} cells, the first on a machine: {first}")
            took = command("report", str(run), "-o", str(page))
            answered, drawn, filtered = usable(page)
            print(
                f"report of {title} cells: {took}; {page.stat().st_size / 1e6:.1f} MB; in Chromium it answers after "
                f"{answered:.1f} s, all charts stand after {drawn:.1f} s, a filter takes {filtered:.2f} s"
            )
        *most, last = write_nights(directory / "nights", 500)
        aside = directory / "aside"
        last.rename(aside)
        site = directory / "site"
        print(
            f"publish of {len(most)} runs of 50 cells: {command('publish', str(directory / 'nights'), '-o', str(site))}"
        )
        aside.rename(last)
        print(f"publish of one more: {command('publish', str(directory / 'nights'), '-o', str(site))}")
        print(f"publish of none: {command('publish', str(directory / 'nights'), '-o', str(site))}")
        size = sum(file.stat().st_size for file in site.rglob("*.*"))
        print(f"the site: {size / 1e6:.0f} MB, its index {(site / 'index.html').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
