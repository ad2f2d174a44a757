"""Packages a backend needs that may be absent or broken: two different answers."""

from __future__ import annotations

import importlib
from importlib.util import find_spec


def missing(module: str, *, install: str, device_type: str, device_types: tuple[str, ...] = ("cuda",)) -> str | None:
    """Why ``module`` cannot be used on a device of that type, or None.

    Args:
        module: What the backend imports, such as ``package.module``.
        install: The command that installs it.
        device_type: The device at hand.
        device_types: Those its kernels exist for.
    """
    package = module.partition(".")[0]
    if device_type not in device_types:
        return f"{package} has no kernels for {device_type} (allowed: {', '.join(device_types)})"
    if find_spec(package) is None:
        return f"{package} is not installed: {install}"
    try:
        importlib.import_module(module)
    except Exception as error:  # a binary built against another torch can fail in any way
        return f"{package} is installed but does not import: {type(error).__name__}: {error}"
    return None
