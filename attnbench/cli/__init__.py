"""The command line. Command bodies import what they need, so that ``--help`` and usage errors are fast."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from attnbench.cli import baseline as baseline_commands
from attnbench.cli import runs as run_commands
from attnbench.cli import suites as suite_commands
from attnbench.cli.ab import ab
from attnbench.cli.backends import backends
from attnbench.cli.compare import compare
from attnbench.cli.doctor import doctor
from attnbench.cli.examples import EXAMPLES
from attnbench.cli.noise import noise
from attnbench.cli.output import command
from attnbench.cli.plot import plot
from attnbench.cli.publish import publish
from attnbench.cli.recommend import recommend
from attnbench.cli.report import report
from attnbench.cli.run import run
from attnbench.cli.schema import schema
from attnbench.cli.show import show
from attnbench.cli.streams import discard, make_usable
from attnbench.cli.verify import verify
from attnbench.core.errors import LostOutputError

MEASURE, READ, JUDGE, LOOK_UP = "Measure", "Read what was measured", "Did it get slower?", "Look up"
"""The groups of commands that help shows."""


def _epilog(name: str) -> str:
    """Examples below a command's help; a blank line keeps each on a line of its own."""
    return "\n\n".join(["Examples:", *(f"  attnbench {example}" for example in EXAMPLES[name])])


def _group(name: str, listing: Callable[..., None], panel: str, **bodies: Callable[..., None]) -> typer.Typer:
    """A command with commands of its own, which lists by itself."""
    group = typer.Typer(rich_markup_mode="rich")
    group.callback(invoke_without_command=True, epilog=_epilog(name))(command(listing))
    _add(group, name, bodies)
    app.add_typer(group, name=name, rich_help_panel=panel)
    return group


def _add(group: typer.Typer, name: str, bodies: dict[str, Callable[..., None]]) -> None:
    for word, body in bodies.items():
        group.command(word, epilog=_epilog(f"{name} {word}"))(command(body))


app = typer.Typer(
    name="attnbench",
    help="Benchmark windowed attention: which implementation is fastest here, and did it get slower?",
    epilog=_epilog(""),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for panel, bodies in {
    MEASURE: (run, ab, noise),
    READ: (show, report, publish, plot, recommend),
    JUDGE: (compare,),
    LOOK_UP: (backends, doctor, verify, schema),
}.items():
    for body in bodies:
        app.command(rich_help_panel=panel, epilog=_epilog(body.__name__))(command(body))
_group("runs", run_commands.list_stored, READ, rm=run_commands.remove_stored)
_group("suites", suite_commands.list_suites, MEASURE, show=suite_commands.show_suite, init=suite_commands.init_suite)
baseline = typer.Typer(
    help="Keep runs as named baselines, in files for git or a CI cache, and judge runs by them.",
    no_args_is_help=True,
    epilog=_epilog("baseline"),
    rich_markup_mode="rich",
)
_add(
    baseline,
    "baseline",
    {
        "save": baseline_commands.save,
        "check": baseline_commands.check,
        "accept": baseline_commands.accept,
        "list": baseline_commands.list_baselines,
    },
)
app.add_typer(baseline, name="baseline", rich_help_panel=JUDGE)


@app.callback(invoke_without_command=True)
def _version(
    *, version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True)
) -> None:
    if version:
        from attnbench import __version__

        typer.echo(f"attnbench {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    make_usable()
    try:
        app(prog_name="attnbench")
    except OSError as error:  # of help, or of what is wrong with a command, which nobody can read
        for stream in (sys.stdout, sys.stderr):
            discard(stream)
        sys.exit(getattr(error.__context__, "exit_code", LostOutputError.exit_code))
