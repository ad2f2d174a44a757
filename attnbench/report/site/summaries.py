"""What a site keeps of every run beside its page, so that the next publication reads new runs alone."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from attnbench.core.errors import StoredRunError
from attnbench.core.files import load
from attnbench.core.record import Status
from attnbench.report.charts.runs import Moment, moment_of
from attnbench.report.page.content import Chapter, group_of, suite_of
from attnbench.report.site.cards import Verdicts
from attnbench.report.site.files import write_whole
from attnbench.results.store import StoredRun

_BROKEN = (Status.WRONG_RESULT, Status.CRASHED, Status.ERROR)
_LONGEST = 60
"""Letters of a name in an address; what follows tells names apart that begin alike."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A run as the index and the history of its suite show it."""

    stamp: str
    """Of the files it was read from."""
    place: str
    """Its directory below the published one."""
    group: str
    """Equal for runs of one suite that were measured alike."""
    identity: str
    """Equal for copies of one run."""
    suite: str
    machine: str
    question: str
    headline: str
    cells: int
    measured: int
    broken: int
    """Cells that are wrong, crashed or raised."""
    incomplete: str
    """What it lacks, in words; empty where it is whole."""
    moment: Moment

    @property
    def page(self) -> str:
        """The address of its page from the site's root."""
        return f"runs/{slug(self.place)}.html"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What became of a run when it was last read."""

    VERSION: ClassVar[int] = 1

    stamp: str
    """Of the files that were read, and of the program that read them."""
    error: str
    """Why it could not be read; empty where it could."""
    summary: Summary | None


@dataclass(frozen=True, kw_only=True)
class KeptSuite:
    """What was said of the newest run of a suite on a machine when its page was written."""

    VERSION: ClassVar[int] = 1

    stamp: str
    """Of its runs."""
    verdicts: Verdicts


def write_kept(file: Path, kept: Kept | KeptSuite) -> None:
    """Keep something for the next publication.

    Raises:
        LostOutputError: It cannot be written.
    """
    write_whole(file, json.dumps({"schema_version": kept.VERSION, **asdict(kept)}, separators=(",", ":")))


def run_file(place: str) -> str:
    """Where what is kept of a run lies, from the site's root."""
    return f"runs/{slug(place)}.json"


def summary_of(run: StoredRun, chapter: Chapter, place: str, stamp: str) -> Summary:
    """What to keep of a run.

    Args:
        run: The run.
        chapter: Its page.
        place: Its directory below the published one.
        stamp: Of its files.
    """
    status = [row["status"] for row in run.rows]
    moment = moment_of(run)
    return Summary(
        stamp=stamp,
        place=place,
        group=digest(group_of(run)),
        identity=digest(repr([moment.started_at, moment.latencies]) if status else place),
        suite=suite_of(run),
        machine=str(run.environment.get("device_name") or "unknown device"),
        question=run.question,
        headline=chapter.answer.headline,
        cells=len(status),
        measured=status.count(Status.OK),
        broken=sum(one in _BROKEN for one in status),
        incomplete=run.incomplete,
        moment=moment,
    )


def read_kept(file: Path, stamp: str) -> Kept | None:
    """What was kept of a run; None where nothing was, or its files changed since."""
    try:
        kept = load(Kept, file, version=Kept.VERSION, what="the summary of a run")
    except StoredRunError:  # it is made again
        return None
    return kept if kept.stamp == stamp else None


def read_suite(site: Path, page: str, stamp: str) -> Verdicts | None:
    """What was said of the newest run of a suite; None where its page has to be written anew."""
    try:
        kept = load(
            KeptSuite, site / page.replace(".html", ".json"), version=KeptSuite.VERSION, what="the summary of a suite"
        )
    except StoredRunError:
        return None
    return kept.verdicts if kept.stamp == stamp and (site / page).is_file() else None


def stamp_of(place: Path, names: Sequence[str], made_by: str) -> str:
    """Changes when one of some files of a directory does, or the program that made pages of them."""
    found = [made_by]
    for name in names:
        try:
            status = (place / name).stat()
        except OSError:
            continue
        found.append(f"{name} {status.st_size} {status.st_mtime_ns}")
    return digest("\n".join(found))


def slug(text: str, mark: str = "") -> str:
    """A name for addresses that no other text has, unless they share a mark of their own.

    >>> slug("quick/My GPU/1", "1a2b3c4d")
    'quick-my-gpu-1-1a2b3c4d'
    """
    readable = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_LONGEST].strip("-")
    return f"{readable}-{mark or digest(text)}".lstrip("-")


def digest(text: str) -> str:
    """Eight hexadecimal digits that tell texts apart."""
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]
