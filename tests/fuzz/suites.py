"""Mutated suites through the command line: ``python -m tests.fuzz.suites --count 10000 --seed 1``.

Whatever a suite says, ``run --dry-run`` ends soon with 0 or 2, and with 2 says one sentence with file and line, or the
option at fault.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML

from attnbench.suite.expansion import built_in_suites
from tests.fuzz.findings import Findings, run_script
from tests.fuzz.forked import Ended, command, forked, spread, warm
from tests.nasty import PIECES

VALUES = (
    "0", "-1", "1.5", "0x10", "0o17", "014", "1_000", "+7", "1e400", ".inf", "-.inf", ".nan", "9" * 30, "9" * 5000,
    "1e5", "~", "null", "true", "yes", "no", "''", '""', "[]", "{}", "[[]]", "[{}]", "[null]", "[1, [2]]", "{a: 1}",
    "{1: 2}", "{[1]: 2}", "{{a: 1}: 2}", "2020-01-01", "2020-01-01T00:00:00Z", "12:30:45",
    "!!python/object:os.system x", "!x 1", "!!binary aGk=", "!!set {a}", "!!omap [a: 1]", "!!timestamp x", "!!int x",
    "!!float x", "!!str 5", "!!bool x", "*x", "&x 1", "*a", "<<", "- 1", "? 1", "|\n  x", ">\n  y", "'", '"', "'\\",
    '"\\x"', '"\\ud800"', '"\\0"', '"\\e[31m"', '"\\u202e"', "56", "[7, 14]", "200x334", "0x0", "7x", "x7", "7x7x7",
    "-7x7", "7 x 7", "all", "cpu", "fused", "naive", "sdpa", "a:b", "os:system", "{name: naive}",
    "{name: naive, label: x}", "{name: naive, python: /nowhere}", "{label: x}", "@", "=", "a=b@c",
    "[" * 40 + "]" * 40, "{a: " * 40 + "1" + "}" * 40, str(list(range(300))), "x" * 100_000, "grouped", "shifted",
    "float16", "forward_backward", "relative", "masked", "layer", "windows", "cold", "graph", "system",
    "{cpu: 1, cuda: 2}", "{cpu: 1}", "2147483648", "2147483647", "1000000", "100000", "?", ":", "#", "%", "---",
    "...", "\t", "\ufeff", "\x00", "\x85", "\u2028",
)  # fmt: skip
KEYS = (
    "name", "description", "device", "baseline", "sweep", "cases", "exclude", "backends", "measure", "batch",
    "resolution", "window", "heads", "head_dim", "dtype", "mode", "pattern", "padding", "bias", "scope", "processes",
    "timeout_s", "prepare_timeout_s", "hung_timeout_s", "threads", "allocator", "cache", "launch", "max_time_s", "<<",
    "", "x", "1", "~",
)  # fmt: skip
SMALL = (
    (
        "name: x\nbackends: [naive, sdpa]\nsweep: {resolution: [14, 28], window: 7, heads: [1, 2]}\n"
        "exclude: [{heads: 2}]\n"
    ),
    (
        "name: y\ndescription: Which?\nbackends:\n- naive\n- {name: sdpa, label: two}\nbaseline: two\ncases:\n"
        "- name: stage 1\n  resolution: 56\n  window: 7x14\n  heads: 2\n  batch: {cpu: 1, cuda: 8}\n"
        "- {resolution: 14, window: 7, heads: 4, mode: forward_backward}\nmeasure: {processes: 1, max_time_s: 0.1}\n"
    ),
    "base: &base {resolution: 14, window: 7}\nname: z\nsweep: {<<: *base, heads: 1}\nbackends: cpu\n",
)


def mutated(text: str, draw: random.Random) -> bytes:
    """A suite with one to four changes, some of which keep it YAML."""
    for _ in range(draw.randint(1, 4)):
        text = draw.choice(CHANGES)(text, draw)
    raw = text.encode("utf-8", "surrogatepass" if draw.random() < 0.5 else "replace")
    if draw.random() < 0.05:
        at = draw.randrange(len(raw) + 1)
        raw = raw[:at] + bytes(draw.randrange(256) for _ in range(3)) + raw[at:]
    return raw[: draw.randrange(len(raw) + 1)] if draw.random() < 0.02 else raw


def _value(text: str, draw: random.Random) -> str:
    """Another value at one of its keys."""
    places = list(re.finditer(r"(?<=[:,\[{])\s*[^\s:,\[\]{}]+", text))
    if not places:
        return text
    place = draw.choice(places)
    return f"{text[: place.start()]} {draw.choice(VALUES)}{text[place.end() :]}"


def _key(text: str, draw: random.Random) -> str:
    places = list(re.finditer(r"\w+(?=:)", text))
    if not places:
        return text
    place = draw.choice(places)
    return text[: place.start()] + draw.choice(KEYS) + text[place.end() :]


def _line(text: str, draw: random.Random) -> str:
    lines = text.splitlines(keepends=True) or [""]
    at = draw.randrange(len(lines))
    match draw.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, draw.choice(lines))
        case 2:
            lines.insert(at, f"{' ' * draw.randrange(5)}{draw.choice(KEYS)}: {draw.choice(VALUES)}\n")
        case 3:
            lines[at] = " " * draw.randrange(4) + lines[at]
    return "".join(lines)


def _characters(text: str, draw: random.Random) -> str:
    at = draw.randrange(len(text) + 1)
    return text[:at] + draw.choice([*PIECES, *VALUES]) + text[at + draw.randrange(4) :]


def _tree(text: str, draw: random.Random) -> str:
    """Another value somewhere in its tree, which stays YAML."""
    import io

    try:
        root = YAML(typ="safe", pure=True).load(text)
        other = YAML(typ="safe", pure=True).load(draw.choice(VALUES))
    except Exception:
        return text
    node: Any = root
    while isinstance(node, dict | list) and node:
        key = draw.choice(list(node)) if isinstance(node, dict) else draw.randrange(len(node))
        if draw.random() < 0.4 or not isinstance(node[key], dict | list):
            node[key] = other
            break
        node = node[key]
    buffer = io.StringIO()
    try:
        YAML(typ="safe", pure=True).dump(root, buffer)
    except Exception:
        return text
    return buffer.getvalue()


CHANGES: Sequence[Callable[[str, random.Random], str]] = (_value, _value, _key, _line, _line, _characters, _tree, _tree)


def overrides(draw: random.Random) -> list[str]:
    """Some options that change the suite."""
    found = []
    while draw.random() < 0.3:
        key = ".".join(draw.choices(KEYS, k=draw.randint(1, 3)))
        value = draw.choice([*VALUES, *PIECES]).replace("\x00", "0")
        found += ["--set", f"{key}={value}" if draw.random() < 0.9 else value or "="]
    return found


def wrong_with(ended: Ended, file: Path) -> str:
    """What is wrong with how a dry run ended; empty where all is right."""
    return next(filter(None, _wrong(ended, file)), "")


def _wrong(ended: Ended, file: Path) -> Iterator[str]:
    yield ended.complaint
    if ended.code == 0:
        yield "" if ended.stdout else "nothing on stdout"
        return
    yield "" if ended.code == 2 else f"exit code {ended.code}"
    said, *more = ended.stderr.split("\n")
    if more != [""] or not said.startswith("attnbench: "):
        yield f"not one sentence: {ended.stderr[:300]!r}"
    where = rf"{re.escape(file.name)}(:[1-9]| is larger| is no| cannot)|--set "
    yield "" if re.search(where, said) else f"neither line nor option: {said[:300]}"
    if re.search(r"Scalar|ordereddict|CommentedMap|CommentedSeq|datetime\.|ruamel|pydantic|<class", said):
        yield f"a library's names: {said[:300]}"
    yield f"{len(said)} characters" if len(said) > 1500 else ""


def fuzz(*, count: int, seed: int, seconds: float | None = None, say: Callable[[str], None] = print) -> int:
    """Try so many suites; the number of findings, each of which is said with what leads to it."""
    import pytest

    from attnbench.core.errors import WorkerError
    from attnbench.run import sides
    from tests.warm import import_everything

    import_everything()
    texts = [*SMALL, *SMALL, *SMALL, *(path.read_text(encoding="utf-8") for path in built_in_suites().values())]
    findings = Findings(say)
    number = -1
    patch = pytest.MonkeyPatch()

    def describe(*_: object) -> None:
        raise WorkerError("suite.yaml:1: not asked here")

    patch.setattr(sides, "describe_suite", describe)  # what there is to run may depend on the device
    with TemporaryDirectory() as place:
        file = Path(place, "suite.yaml")
        file.write_text(SMALL[0])
        warm("run", str(file), "--dry-run")
        for number in spread(count, seconds):
            draw = random.Random(f"{seed} {number}")
            raw = mutated(draw.choice(texts), draw)
            file.write_bytes(raw)
            options = overrides(draw)
            ended = forked(command("run", str(file), "--dry-run", *options))
            if ended.code == 3 and "not asked here" in ended.stderr:
                continue
            if why := wrong_with(ended, file):
                findings.add(why, f"seed {seed} number {number}: {why}\n  options {options!r}\n  {raw[:600]!r}")
    patch.undo()
    say(f"{number + 1} tried")
    return findings.told()


if __name__ == "__main__":
    run_script(fuzz, __doc__, count=10_000)
