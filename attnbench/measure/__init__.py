"""Instruments: the call, its time, its memory, its kernel, and the machine it ran on."""
