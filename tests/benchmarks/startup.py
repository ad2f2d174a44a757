"""How long help and mistakes take beside ``python -c "import typer"``, as whole processes in turn: run as a script."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "import typer": [sys.executable, "-c", "import typer"],
    "attnbench --help": [sys.executable, "-m", "attnbench", "--help"],
    "attnbench show --help": [sys.executable, "-m", "attnbench", "show", "--help"],
    "attnbench run --no-such-option": [sys.executable, "-m", "attnbench", "run", "--no-such-option"],
}
REPETITIONS = 20


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, check=False)
    return time.perf_counter() - began


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(REPETITIONS):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    base = times["import typer"]
    print(f"{'command':32} {'median ms':>10} {'ratio':>6}   (median of {REPETITIONS} ratios, pair by pair)")
    for name, found in times.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(found, base, strict=True))
        print(f"{name:32} {1e3 * statistics.median(found):10.0f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
