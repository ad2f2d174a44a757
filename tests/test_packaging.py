"""What is installed elsewhere than from a checkout is whole."""

from __future__ import annotations

import tomllib

from tests.conftest import TESTS

ROOT = TESTS.parent


def test_every_package_is_installed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "attnbench").glob("**/__init__.py")}
    assert set(listed) == found | {"attnbench.suites"}
