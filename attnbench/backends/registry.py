"""Backends by name: names without importing anything, one class, or a module path.

Neither this module nor its callers in the parent process import torch.
"""

from __future__ import annotations

import importlib
import inspect
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import TYPE_CHECKING

from attnbench.core.errors import BackendError
from attnbench.core.shipped_backends import SHIPPED

if TYPE_CHECKING:
    from attnbench.backends.base import Backend

GROUP = "attnbench.backends"
"""The entry-point group in which packages name their backends."""


def names() -> list[str]:
    """Every backend of attnbench, and those that other installed packages name; nothing is imported."""
    return sorted(_entry_points())


def load(name: str) -> type[Backend]:
    """The class behind a registered name or a path ``package.module:Class``.

    Raises:
        BackendError: No such name, the module does not import, or what it holds is not a backend.
    """
    paths = {entry_point.value for entry_point in _entry_points().get(name, ())} or {name}
    if len(paths) > 1:
        raise BackendError(
            f"backend {name}: several packages name one: {', '.join(sorted(paths))}; uninstall all but one"
        )
    (path,) = paths
    module_name, _, class_name = path.partition(":")
    if not (module_name and class_name):
        raise BackendError(f"there is no backend {name!r} (known: {', '.join(names())}; or give package.module:Class)")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a user's module does when imported is an answer, not our failure
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise BackendError(f"backend {name}: {module_name} does not import: {said}") from error
    return _backend_class(name, module, path)


def _backend_class(name: str, module: ModuleType, path: str) -> type[Backend]:
    from attnbench.backends.base import Backend

    wanted = path.partition(":")[2]
    found = getattr(module, wanted, None)
    if found is None:
        others = [
            one
            for one, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, Backend) and value.__module__ == module.__name__
        ]
        there = f" (its backends: {', '.join(others)})" if others else ", nor any class derived from Backend"
        raise BackendError(f"backend {name}: there is no {wanted!r} in {module.__name__}{there}")
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise BackendError(f"backend {name}: {path} is not a subclass of attnbench.backends.base.Backend")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise BackendError(f"backend {name}: {path} does not define {missing}")
    return found


@cache
def _entry_points() -> dict[str, list[EntryPoint]]:
    found = {name: [EntryPoint(name=name, value=value, group=GROUP)] for name, (value, _) in SHIPPED.items()}
    # An environment that is borrowed may have another version of attnbench installed: what runs is this one.
    others = (point for point in entry_points(group=GROUP) if point.dist is None or point.dist.name != "attnbench")
    for entry_point in others:
        found.setdefault(entry_point.name, []).append(entry_point)
    return found
