"""From suite.yaml to problems: source text with its lines, the schema, the expansion."""

from attnbench.suite.expansion import Suite, built_in_suites, find_suite, load_suite
from attnbench.suite.schema import json_schema

__all__ = ["Suite", "built_in_suites", "find_suite", "json_schema", "load_suite"]
