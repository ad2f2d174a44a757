"""Backends by name: names without importing anything, one class, or a module path.

Neither this module nor its callers in the parent process import torch.
"""

from __future__ import annotations

import importlib
import inspect
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, distributions, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from attnbench.errors import BackendError

if TYPE_CHECKING:
    from attnbench.backends.base import Backend

GROUP = "attnbench.backends"
"""The entry-point group in which packages name their backends."""
_PACKAGE = "attnbench"


def names() -> list[str]:
    """Every backend that an installed package names; nothing is imported."""
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
    return _backend_class(name, getattr(module, class_name, None), path)


def _backend_class(name: str, found: object, path: str) -> type[Backend]:
    from attnbench.backends.base import Backend

    if found is None:
        raise BackendError(f"backend {name}: there is no {path.partition(':')[2]!r} in {path.partition(':')[0]}")
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise BackendError(f"backend {name}: {path} is not a subclass of attnbench.backends.base.Backend")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise BackendError(f"backend {name}: {path} does not define {missing}")
    return found


@cache
def _entry_points() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    others = (point for point in entry_points(group=GROUP) if not _is_ours(point))
    for entry_point in (*_own_entry_points(), *others):
        found.setdefault(entry_point.name, []).append(entry_point)
    return found


def _own_entry_points() -> Iterable[EntryPoint]:
    """Those of the package that this module belongs to.

    A worker in another environment runs this package, too, and may find none installed there, or an older one: what
    lies beside the package counts. In a checkout that is its pyproject.toml; installed, its metadata.
    """
    root = Path(__file__).resolve().parents[2]
    pyproject = root / "pyproject.toml"
    if pyproject.is_file():  # beside an installed package it may be anybody's
        project = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == _PACKAGE:
            declared = project["entry-points"][GROUP]
            return [EntryPoint(name=name, value=value, group=GROUP) for name, value in declared.items()]
    beside = next(iter(distributions(name=_PACKAGE, path=[str(root)])), None)
    return beside.entry_points.select(group=GROUP) if beside else []


def _is_ours(entry_point: EntryPoint) -> bool:
    return entry_point.dist is not None and entry_point.dist.name == _PACKAGE
