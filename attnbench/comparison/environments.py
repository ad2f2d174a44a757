"""Environments compared: what must be equal, and what changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_VERSIONS = ("torch", "cuda", "driver", "python", "commit")
_ABSENT = "absent"


def unlike(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Fields of the fingerprint that differ; runs kept without an environment have none."""
    old, new = (environment.get("fingerprint", {}) for environment in (before, after))
    return [f"{name} {old[name]} -> {new[name]}" for name in old if name in new and old[name] != new[name]]


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What changed between two environments, in words: versions first, then packages, then torch's switches."""
    if not (before and after):
        return []
    found = [
        f"{name} {before.get(name)} -> {after.get(name)}" for name in _VERSIONS if before.get(name) != after.get(name)
    ]
    for name in ("packages", "flags"):
        old, new = before.get(name, {}), after.get(name, {})
        found += [
            f"{key} {old.get(key, _ABSENT)} -> {new.get(key, _ABSENT)}"
            for key in sorted({*old, *new})
            if old.get(key) != new.get(key) and key not in _VERSIONS
        ]
    return found
