"""Packages that are absent, broken or of no use here: three different answers."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from attnbench.backends.base import Backend
from attnbench.backends.flash_attn import FlashAttn
from attnbench.backends.xformers import Xformers

from . import stand_ins


@dataclass(frozen=True, kw_only=True)
class Package:
    backend: type[Backend]
    name: str
    file: str
    """What the backend imports first."""
    install: str


XFORMERS = Package(backend=Xformers, name="xformers", file="xformers/ops.py", install="pip install xformers")
FLASH_ATTN = Package(
    backend=FlashAttn,
    name="flash_attn",
    file="flash_attn/__init__.py",
    install="pip install --no-build-isolation flash-attn",
)
BOTH = pytest.mark.parametrize("package", [XFORMERS, FLASH_ATTN], ids=lambda package: package.name)


def _forget(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        # Set before deleted, so that what the test imports is taken away again at its end.
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.delitem(sys.modules, module)


def _write_package(monkeypatch: pytest.MonkeyPatch, folder: Path, files: dict[str, str]) -> None:
    _forget(monkeypatch, "xformers", "xformers.ops", "flash_attn", "flash_attn.flash_attn_interface")
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)


def _have_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)


@BOTH
def test_an_absent_package_is_an_install_hint(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package.name, None)

    assert package.backend.unavailable("cuda") == f"{package.name} is not installed: {package.install}"


@BOTH
@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError])
def test_a_broken_package_gives_its_own_error_in_full(
    error: type[Exception], package: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = "libcudart.so.12: cannot open shared object file: No such file or directory\n(built for torch 2.10)"
    files = {f"{package.name}/__init__.py": "", package.file: f"raise {error.__name__}({text!r})"}
    _write_package(monkeypatch, tmp_path, files)

    reason = f"{package.name} is installed but does not import: {error.__name__}: {text}"
    assert package.backend.unavailable("cuda") == reason


@BOTH
def test_a_package_that_needs_another_one_is_broken_and_not_absent(
    package: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = {f"{package.name}/__init__.py": "", package.file: "import attnbench_no_such_module"}
    _write_package(monkeypatch, tmp_path, files)

    error = "ModuleNotFoundError: No module named 'attnbench_no_such_module'"
    assert package.backend.unavailable("cuda") == f"{package.name} is installed but does not import: {error}"


@BOTH
def test_a_device_without_kernels_is_told_which_have_them(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package.name, None)

    assert package.backend.unavailable("cpu") == f"{package.name} has no kernels for cpu (allowed: cuda)"


@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (9, 0), (12, 0)])
def test_both_are_available_where_package_and_gpu_are(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins.Xformers().install(monkeypatch)
    stand_ins.FlashAttn().install(monkeypatch)
    _have_gpu(monkeypatch, capability)

    assert Xformers.unavailable("cuda") is None
    assert FlashAttn.unavailable("cuda") is None


@pytest.mark.parametrize(("capability", "spelt"), [((7, 5), "7.5"), ((6, 1), "6.1")])
def test_flash_attn_refuses_gpus_before_ampere(
    capability: tuple[int, int], spelt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins.FlashAttn().install(monkeypatch)
    _have_gpu(monkeypatch, capability)

    reason = f"flash_attn needs compute capability 8.0 or later, this GPU has {spelt}"
    assert FlashAttn.unavailable("cuda") == reason


def test_flash_attn_4_alone_is_not_flash_attn_2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The wheel of flash-attn-4 holds the package flash_attn.cute and no flash_attn/__init__.py.
    _write_package(monkeypatch, tmp_path, {"flash_attn/cute/__init__.py": ""})

    assert FlashAttn.unavailable("cuda")
