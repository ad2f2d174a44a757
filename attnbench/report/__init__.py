"""Stored runs as people and programs read them: first a sheet of text, then one file per rendering."""
