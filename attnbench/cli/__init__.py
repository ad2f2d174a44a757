"""The command line. Command bodies import what they need, so that help and mistakes answer at once."""

from __future__ import annotations

import sys

import typer

from attnbench.cli.backends import backends
from attnbench.cli.run import run
from attnbench.cli.schema import schema
from attnbench.cli.show import show
from attnbench.errors import AttnbenchError

app = typer.Typer(
    name="attnbench",
    help="Benchmark implementations of windowed attention: checked before timed, labelled, stored, compared.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (run, show, backends, schema):
    app.command()(command)


@app.callback(invoke_without_command=True)
def _version(
    *, version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True)
) -> None:
    if version:
        from attnbench import __version__

        typer.echo(f"attnbench {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; an error a person can mend is one sentence and an exit code."""
    try:
        app()
    except AttnbenchError as error:
        typer.echo(f"attnbench: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output has seen enough; Python must not complain when it closes stdout.
        sys.stderr.close()
        sys.exit(0)
