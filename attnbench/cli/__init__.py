"""The command line. Command bodies import what they need, so that ``--help`` and usage errors are fast."""

from __future__ import annotations

import typer

from attnbench.cli import baseline as baseline_commands
from attnbench.cli.ab import ab
from attnbench.cli.backends import backends
from attnbench.cli.compare import compare
from attnbench.cli.doctor import doctor
from attnbench.cli.noise import noise
from attnbench.cli.output import command
from attnbench.cli.plot import plot
from attnbench.cli.publish import publish
from attnbench.cli.recommend import recommend
from attnbench.cli.report import report
from attnbench.cli.run import run
from attnbench.cli.schema import schema
from attnbench.cli.show import show
from attnbench.cli.streams import make_usable
from attnbench.cli.verify import verify

app = typer.Typer(
    name="attnbench",
    help="Benchmark windowed attention: check results, measure latency, store and compare runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
baseline = typer.Typer(
    help="Save runs as named baselines, in files for git or a CI cache, and compare with them.", no_args_is_help=True
)
baseline.command("save")(command(baseline_commands.save))
baseline.command("accept")(command(baseline_commands.accept))
baseline.command("list")(command(baseline_commands.list_baselines))
baseline.command("check")(command(baseline_commands.check))
app.add_typer(baseline, name="baseline")
for body in (run, show, report, publish, plot, recommend, compare, ab, noise, backends, doctor, verify, schema):
    app.command()(command(body))


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
    app(prog_name="attnbench")
