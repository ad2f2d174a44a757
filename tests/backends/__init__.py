"""Tests of the backends; those for GPUs run over stand-ins on the CPU."""
