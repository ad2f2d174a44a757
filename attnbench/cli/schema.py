"""``attnbench schema``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from attnbench.cli.output import write


class Described(StrEnum):
    """Files that have a schema."""

    SUITE = "suite"
    RESULTS = "results"
    """What ``--export json=FILE`` and ``--format json`` write of runs, comparisons and A/A tests."""


def schema(
    of: Annotated[
        Described, typer.Argument(help="suite, or results: the JSON of exported runs, comparisons and A/A tests.")
    ] = Described.SUITE,
) -> None:
    """Print the JSON schema of suites, for editors, or of exported results."""
    import json

    from attnbench.exports import schema as results
    from attnbench.suite.schema import json_schema

    found = json_schema() if of is Described.SUITE else results.json_schema()
    write(json.dumps(found, indent=2) + "\n")
