"""Backends by name, by module path, from other packages, and from a checkout that is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from attnbench.backends import registry
from attnbench.core.errors import BackendError
from tests import faults
from tests.conftest import TESTS

ROOT = TESTS.parent


def test_every_backend_of_the_package_loads() -> None:
    for name in registry.names():
        assert registry.load(name).__module__.startswith("attnbench.backends.")


def test_names_import_nothing() -> None:
    code = "import sys; from attnbench.backends import registry; registry.names(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_module_path_is_a_backend() -> None:
    assert registry.load("tests.faults:Right") is faults.Right


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nothing", "there is no backend 'nothing' (known: "),
        (
            "no_such_module:Mine",
            "no_such_module does not import: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("tests.faults:Nothing", "there is no 'Nothing' in tests.faults (its backends: "),
        ("tests.faults:NotABackend", "tests.faults:NotABackend is not a subclass of attnbench.backends.base.Backend"),
        ("tests.faults:Abstract", "tests.faults:Abstract does not define prepare"),
    ],
)
def test_a_name_that_leads_nowhere_says_why(name: str, sentence: str) -> None:
    with pytest.raises(BackendError) as caught:
        registry.load(name)
    assert sentence in str(caught.value)


def _names_seen(*paths: Path, isolated: bool = False) -> list[str]:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from attnbench.backends import registry; print(*registry.names())"
    )  # fmt: skip
    command = [sys.executable, *(["-S"] if isolated else []), "-P", "-c", code, *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_another_package_adds_a_backend_by_its_metadata_alone(tmp_path: Path) -> None:
    metadata = tmp_path / "other-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[attnbench.backends]\nother = other.kernels:Fast\n")
    assert set(_names_seen(tmp_path, ROOT)) == {*registry.names(), "other"}


def test_a_checkout_that_is_not_installed_knows_its_own_backends() -> None:
    # -S leaves out site-packages, and with it the metadata of the installed package.
    assert _names_seen(ROOT, isolated=True) == registry.names()
