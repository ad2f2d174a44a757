"""Run directories: the journal, the table made of it, and what is stored beside runs."""
