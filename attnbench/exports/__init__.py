"""Runs and comparisons as the files that other programs of a CI job read: one file per format."""
