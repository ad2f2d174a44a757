"""``attnbench schema``."""

from __future__ import annotations

from attnbench.cli.boundary import write


def schema() -> None:
    """Print the JSON schema of suites, for editors."""
    import json

    from attnbench.suite import json_schema

    write(json.dumps(json_schema(), indent=2) + "\n")
