"""``attnbench schema``."""

from __future__ import annotations

import typer


def schema() -> None:
    """Print the JSON schema of suites, for editors."""
    import json

    from attnbench.suite import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
