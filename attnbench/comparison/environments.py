"""Environments compared: what changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_VERSIONS = ("torch", "cuda", "driver", "python", "commit")
_ABSENT = "absent"
_KERNELS = re.compile(r"torch|triton|nvidia|cuda|xformers|flash|natten", re.IGNORECASE)
"""Packages that bring kernels: a change of one of them is likelier to be the reason than any other."""


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What changed between two environments, in words: versions first, then packages that bring kernels."""
    if not (before and after):
        return []
    found = [
        f"{name} {before.get(name)} -> {after.get(name)}" for name in _VERSIONS if before.get(name) != after.get(name)
    ]
    for name in ("packages", "flags"):
        old, new = before.get(name, {}), after.get(name, {})
        found += [
            f"{key} {old.get(key, _ABSENT)} -> {new.get(key, _ABSENT)}"
            for key in sorted({*old, *new}, key=lambda key: (not _KERNELS.search(key), key))
            if old.get(key) != new.get(key) and key not in _VERSIONS
        ]
    return found
