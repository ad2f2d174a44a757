"""Mutated run directories through every command that reads them: ``python -m tests.fuzz.runs --count 2000 --seed 1``.

Whatever a stored file says, a command ends soon, with one sentence that names the file or with what the journal holds:
no number of a table that disagrees with its journal is believed.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.fuzz.findings import Findings, run_script
from tests.fuzz.forked import Ended, command, forked, spread, warm
from tests.fuzz.suites import mutated as mutated_suite
from tests.nasty import PIECES

SUITE = """\
name: s
description: Which one is fast?
device: cpu
backends: [naive, sdpa]
baseline: naive
cases: [{name: s, resolution: [14, 28], window: 7, heads: [1, 2]}]
measure: {processes: 2, max_time_s: 0.01, timeout_s: 20}
"""
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 1.5, -0.5, 1e-300, 1e300, 10**30, 10**400, float("nan"), float("inf"),
    float("-inf"), "", "x", "ok", "oom", "0", "1e5", [], [1], [None], ["x"], {}, {"x": 1}, [[]], [{}], "cpu", "cuda:0",
    "naive", "../../x", "/etc/passwd", "2026-01-02T03:04:05+00:00", "2026-13-45", *PIECES[::3],
)  # fmt: skip
TEXTS = ("", "nan", "inf", "-1", "0", "1e999", "x", "ok", "oom", "999", "0:1 1:2", "naive", '"', "\x00", "=1+1")
COMMANDS: dict[str, tuple[str, ...]] = {
    "show": ("show", "out"),
    "show csv": ("show", "out", "--format", "csv"),
    "show json": ("show", "out", "--format", "json"),
    "show pivot": ("show", "out", "--rows", "resolution", "--columns", "heads"),
    "show winners": ("show", "out", "--winners"),
    "compare": ("compare", "base", "out", "--export", "junit=j.xml", "--export", "openmetrics=m.txt"),
    "compare ab": ("compare", "ab", "--export", "markdown=m.md"),
    "compare noise": ("compare", "base", "out", "--noise", "noise"),
    "baseline save": ("baseline", "save", "out", "--name", "new"),
    "baseline list": ("baseline", "list"),
    "baseline check": ("baseline", "check", "base"),
    "baseline accept": ("baseline", "accept", "base", "--cell", "s/resolution 14/heads 1", "--why", "x"),
    "report": ("report", "out", "base", "-o", "page.html"),
    "plot": ("plot", "out"),
    "recommend": ("recommend", "--resolution", "14", "--window", "7", "--heads", "1", "--from", "out"),
    "resume": ("run", "s.yaml", "--resume", "out"),
}


@dataclass(frozen=True, kw_only=True)
class Damage:
    """What was done to a file."""

    file: Path
    what: str


def make(place: Path) -> None:
    """Two runs of a suite, an A/B comparison, an A/A test and a baseline with an accepted change, by stand-ins."""
    os.chdir(place)
    Path("s.yaml").write_text(SUITE)
    for made, scatter in {"base": 0.03, "out": 0.02}.items():
        Path("stand_in.json").write_text(json.dumps({"scatter": scatter}))
        _must("run", "s.yaml", "--output", made)
    for side in ("one", "other"):
        Path(side).mkdir()
    _must("ab", "s.yaml", "--base-path", "one", "--candidate-path", "other", "--max-rounds", "10", "--output", "ab")
    _must("noise", "s.yaml", "--pairs", "5", "--output", "noise")
    _must("baseline", "save", "base", "--name", "main")
    _must("baseline", "accept", "base", "--name", "main", "--cell", "s/resolution 14/heads 1", "--why", "x")


def _must(*arguments: str) -> None:
    ended = forked(command(*arguments))
    assert ended.code in (0, 1, 5), ended.stderr


def damaged(place: Path, draw: random.Random) -> Damage:
    """Change one of the files below a directory."""
    files = sorted(path for path in place.glob("**/*") if path.is_file() and path.parent != place)
    file = draw.choice(files)
    where = file.relative_to(place)
    match draw.randrange(12):
        case 0:
            file.unlink()
            return Damage(file=where, what="removed")
        case 1:
            raw = file.read_bytes()
            file.write_bytes(raw[: draw.randrange(len(raw) + 1)])
            return Damage(file=where, what="cut off")
        case 2:
            raw, at = file.read_bytes(), draw.randrange(file.stat().st_size + 1)
            file.write_bytes(raw[:at] + bytes(draw.randrange(256) for _ in range(draw.randint(1, 8))) + raw[at + 4 :])
            return Damage(file=where, what=f"bytes at {at}")
        case 3:
            other = draw.choice(files)
            file.write_bytes(other.read_bytes())
            return Damage(file=where, what=f"content of {other.relative_to(place)}")
        case 4:
            file.unlink()
            file.mkdir()
            return Damage(file=where, what="a directory")
    match file.suffix:
        case ".json":
            data, what = _changed(json.loads(file.read_text()), draw)
            file.write_text(json.dumps(data))
        case ".jsonl":
            what = _lines(file, draw)
        case ".yaml":
            file.write_bytes(mutated_suite(file.read_text(), draw))
            what = "mutated"
        case ".csv":
            what = _cells(file, draw)
        case _:
            what = _table(file, draw)
    return Damage(file=where, what=what)


def _changed(data: Any, draw: random.Random) -> tuple[Any, str]:
    """The data with another value somewhere, or a key less or more."""
    root, path = {"": data}, list[Any]([""])
    node: Any = root
    while True:
        key = path[-1]
        below = node[key]
        if not isinstance(below, dict | list) or not below or (len(path) > 1 and draw.random() < 0.25):
            break
        node = below
        path.append(draw.choice(list(below)) if isinstance(below, dict) else draw.randrange(len(below)))
    match draw.randrange(8):
        case 0 if len(path) > 1:
            del node[path[-1]]
            what = "removed"
        case 1 if isinstance(node, dict):
            node[draw.choice(("x", "schema_version", "case", "status"))] = draw.choice(VALUES)
            what = "one more"
        case 2 if isinstance(node[path[-1]], float | int):
            node[path[-1]] *= draw.choice((-1, 0, 0.5, 2, 1e9, 1.01))
            what = f"= {node[path[-1]]}"
        case _:
            node[path[-1]] = draw.choice(VALUES)
            what = f"= {node[path[-1]]!r:.60}"
    return root[""], f"{'.'.join(map(str, path[1:]))} {what}"


def _lines(file: Path, draw: random.Random) -> str:
    lines = file.read_text().splitlines()
    if not lines:
        return "nothing"
    at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.randrange(6):
        case 0:
            lines.insert(at, lines[other])
            what = f"line {other} again"
        case 1:
            lines[at], lines[other] = lines[other], lines[at]
            what = f"lines {at} and {other} exchanged"
        case 2:
            del lines[at]
            what = f"line {at} removed"
        case _:
            data, what = _changed(json.loads(lines[at]), draw)
            lines[at] = json.dumps(data)
    file.write_text("".join(f"{line}\n" for line in lines))
    return what


def _cells(file: Path, draw: random.Random) -> str:
    import csv
    import io

    rows = list(csv.reader(io.StringIO(file.read_text())))
    row, column = draw.randrange(len(rows)), draw.randrange(len(rows[0]))
    match draw.randrange(5):
        case 0:
            rows.insert(row, rows[draw.randrange(len(rows))])
        case 1:
            del rows[row]
        case 2:
            rows = [[cell for at, cell in enumerate(each) if at != column] for each in rows]
        case _:
            rows[row][column] = draw.choice((*TEXTS, *PIECES))
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    file.write_text(buffer.getvalue(), encoding="utf-8", errors="replace")
    return f"cell {row}, {column}"


def _table(file: Path, draw: random.Random) -> str:
    import pandas as pd

    frame = pd.read_parquet(file)
    attrs = frame.attrs
    name = draw.choice(list(frame.columns))
    match draw.randrange(5):
        case 0:
            frame = frame.drop(columns=name)
        case 1:
            frame = pd.concat([frame, frame.head(1)])
        case 2:
            frame = frame.iloc[:0]
        case 3:
            frame[name] = frame[name].astype(str)
        case _:
            frame[name] = draw.choice((1, -1, 0.5, "x", None))
    frame.attrs = attrs if draw.random() < 0.7 else {}
    frame.to_parquet(file)
    return f"column {name}"


def wrong_with(ended: Ended, damage: Damage) -> str:
    """What is wrong with how a command ended; empty where all is right."""
    return next(filter(None, _wrong(ended, damage)), "")


def _wrong(ended: Ended, damage: Damage) -> Iterator[str]:
    yield ended.complaint
    said = [line for line in ended.stderr.splitlines() if line.startswith("attnbench: ")]
    sentence = said[0] if said else ""
    yield f"{len(said)} sentences" if len(said) > 1 else ""
    if ended.code in (2, 3, 4) and not said:
        yield f"exit code {ended.code} without a sentence: {ended.stderr[:200]!r}"
    if re.search(r"<class|dtype\(|pyarrow|DataFrame|NoneType|object at 0x", sentence):
        yield f"a library's names: {sentence[:300]}"
    yield f"{len(sentence)} characters" if len(sentence) > 2000 else ""
    yield "control characters" if re.search("[\x00-\x1f\x7f-\x9f]", sentence) else ""
    if ended.code == 2 and damage.file.parts[0] not in sentence:
        yield f"no file named: {sentence[:300]}"


def _latencies(run: Path) -> dict[tuple[str, str], float]:
    import attnbench

    frame = attnbench.load(run)
    ok = frame[frame["status"] == "ok"]
    return {(row["case"], row["backend"]): round(row["latency_ms"], 12) for row in ok.to_dict("records")}


def _believed(expected: dict[tuple[str, str], float]) -> Callable[[], None]:
    """Reads the run, and says which numbers are not those that were measured."""

    def look() -> None:
        from attnbench.core.errors import AttnbenchError

        try:
            found = _latencies(Path("out"))
        except AttnbenchError as error:
            print(f"attnbench: {error}", file=sys.stderr)
            sys.exit(2)
        wrong = {cell: ms for cell, ms in found.items() if expected.get(cell) != ms}
        if wrong:
            raise AssertionError(f"{len(wrong)} latencies are believed that were not measured")

    return look


def checks(damage: Damage, expected: dict[tuple[str, str], float]) -> Iterator[tuple[str, Callable[[], None]]]:
    """Every command that may read the file, and what they are called."""
    top = damage.file.parts[0]
    for name, arguments in COMMANDS.items():
        if top in arguments or (top == "baselines" and "baseline" in arguments):
            yield name, command(*arguments)
    if top == "out" and damage.file.name != "journal.jsonl":  # the journal is the truth
        yield "load", _believed(expected)


def fuzz(*, count: int, seed: int, seconds: float | None = None, say: Callable[[str], None] = print) -> int:
    """Try so many directories; the number of findings, each of which is said with what leads to it."""
    import pytest

    from tests import stand_in
    from tests.warm import import_everything

    import_everything()
    patch = pytest.MonkeyPatch()
    stand_in.use(patch)
    before, findings, number = Path.cwd(), Findings(say), -1
    with TemporaryDirectory() as place:
        patch.setenv("ATTNBENCH_LOCKS", f"{place}/locks")
        whole, now = Path(place, "whole"), Path(place, "now")
        whole.mkdir()
        make(whole)
        expected = _latencies(whole / "out")
        for arguments in COMMANDS.values():
            if arguments[0] in ("show", "compare", "report", "plot", "recommend"):
                warm(*arguments)
        try:
            for number in spread(count, seconds):
                draw = random.Random(f"{seed} {number}")
                os.chdir(place)
                shutil.rmtree(now, ignore_errors=True)
                shutil.copytree(whole, now)
                os.chdir(now)
                damage = damaged(now, draw)
                for name, body in checks(damage, expected):
                    if why := wrong_with(forked(body), damage):
                        findings.add(
                            why,
                            f"seed {seed} number {number}, {name}: {damage.file}: {damage.what}: {why}",
                            group=f"{name}: ",
                        )
        finally:
            os.chdir(before)
    patch.undo()
    say(f"{number + 1} tried")
    return findings.told()


if __name__ == "__main__":
    run_script(fuzz, __doc__, count=2_000)
