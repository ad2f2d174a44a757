"""From suite.yaml to problems: source text with its lines, the schema, the expansion."""
