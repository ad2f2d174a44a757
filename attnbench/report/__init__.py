"""Results as people read them: sheets of tables and notes, for terminals and as Markdown; and as CSV and JSON."""
