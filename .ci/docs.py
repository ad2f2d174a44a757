"""Writes what the docs show of the program: the reference of its commands, and pictures of a stored run.

``python .ci/docs.py`` writes them; the tests say whether they are fresh.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typer.main import get_command

from attnbench.cli import app
from attnbench.cli.examples import EXAMPLES

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = "results/reference/amd-epyc-2-cores"
PICTURES = {
    "docs/pictures/table.svg": ("show", f"{REFERENCE}/quick", "--case", "svt_s stage 3", "--case", "swin_t stage 1*"),
    "docs/pictures/answer.svg": ("show", f"{REFERENCE}/quick", "--rows", "case", "--columns", "backend"),
    "docs/pictures/ab.svg": ("compare", f"{REFERENCE}/ab-refactored"),
}
WIDTH = 100
PROGRAM = (sys.executable, "-m", "attnbench")


def reference() -> str:
    """``docs/cli.md``: every command with its arguments, options and examples."""
    group = get_command(app)
    parts = [
        "# Command line reference",
        "`python .ci/docs.py` writes this page from the program itself; `attnbench COMMAND --help` says the same.",
        "`attnbench --install-completion` makes the shell complete commands, suites and backends.",
        _exit_codes(),
    ]
    for name, command in _commands(group).items():
        parts += _section(name, command)
    return "\n\n".join(parts) + "\n"


def picture(arguments: tuple[str, ...], program: Sequence[str] = PROGRAM) -> str:
    """What a command prints, as SVG."""
    return subprocess.run(  # noqa: S603 - our own command
        [*program, *arguments, "--format", "svg"],
        cwd=ROOT, env={**os.environ, "COLUMNS": str(WIDTH)}, capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip


def pages(program: Sequence[str] = PROGRAM) -> dict[str, str]:
    """Every written file with its content; ``program`` is what runs the commands of pictures."""
    return {"docs/cli.md": reference(), **{file: picture(arguments, program) for file, arguments in PICTURES.items()}}


def _commands(group: Any, name: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word, command in group.commands.items():
        whole = f"{name} {word}".strip()
        found[whole] = command
        if hasattr(command, "commands"):
            found |= _commands(command, whole)
    return found


def _section(name: str, command: Any) -> list[str]:
    context = command.make_context(f"attnbench {name}", [], resilient_parsing=True)
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    parts = [f"## attnbench {name}", _escaped(_flowing(command.help or "")), f"```text\n{usage}\n```"]
    rows = [row for parameter in command.params if (row := _row(parameter, context))]
    if rows:
        parts.append("\n".join(["| argument, option | meaning |", "|---|---|", *rows]))
    examples = "\n".join(f"attnbench {example}" for example in EXAMPLES[name])
    return [*parts, f"```bash\n{examples}\n```"]


def _row(parameter: Any, context: Any) -> str:
    shown, text = parameter.get_help_record(context) or ("", "")
    return f"| `{shown.replace('|', ', ')}` | {_escaped(_flowing(text))} |" if shown else ""


def _exit_codes() -> str:
    return (
        "Exit codes: 0 fine; 1 a cell regressed, broke or is wrong; 2 wrong usage or suite; 3 nothing could be "
        "measured, or the run was interrupted; 4 runs that cannot be compared; 5 inconclusive under `--strict`. Data "
        "goes to stdout, everything else to stderr."
    )


def _flowing(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _escaped(text: str) -> str:
    return re.sub(r"([|<*])", r"\\\1", text) if "`" not in text else text.replace("|", "\\|")


if __name__ == "__main__":
    for file, content in pages().items():
        (ROOT / file).write_text(content, encoding="utf-8")
        sys.stdout.write(f"{file}\n")
