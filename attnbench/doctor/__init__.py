"""Checks of this machine for what spoils benchmarks."""
