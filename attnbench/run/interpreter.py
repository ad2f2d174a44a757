"""Another Python environment that workers run in: found, asked what it has, told in one sentence what it lacks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from attnbench.backends.registry import GROUP
from attnbench.core.errors import UsageError

OLDEST = (3, 11)
_PROBE_TIMEOUT_S = 60.0
_LONGEST_WORDS = 200
_LEAKING = ("PYTHONPATH", "PYTHONHOME")
"""Variables through which one environment's packages would be found in another."""
# Any Python understands this much; nothing heavy is imported.
_PROBE = f"""
import sys
sys.path[:] = [path for path in sys.path if path]
import json
found = {{"version": list(sys.version_info[:3]), "executable": sys.executable, "torch": False, "backends": []}}
if sys.version_info >= {OLDEST}:
    from importlib.metadata import entry_points
    from importlib.util import find_spec
    found["torch"] = find_spec("torch") is not None
    found["backends"] = [point.name for point in entry_points(group={GROUP!r})]
print(json.dumps(found))
"""


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A Python that a worker runs in."""

    executable: Path
    path: Path | None = None
    """A directory that comes first on its Python path: a revision of the user's own kernels."""
    backends: tuple[str, ...] = ()
    """Names that packages installed there give backends."""
    alone: bool = False
    """Whether this process's Python path is none of its own."""

    def environment(self) -> dict[str, str]:
        """The variables its processes are started with."""
        return {name: value for name, value in os.environ.items() if not (self.alone and name in _LEAKING)}


def this_interpreter(*, path: Path | None = None, alone: bool = False) -> Interpreter:
    """The one that runs this.

    Args:
        path: A directory that comes first on its Python path.
        alone: Whether it is beside another one, so that PYTHONPATH must not mean something to it.
    """
    return Interpreter(executable=Path(sys.executable), path=path, alone=alone)


def find_interpreter(named: str, option: str, *, path: Path | None = None) -> Interpreter:
    """The interpreter that a person means.

    Args:
        named: A virtual environment's directory, an interpreter's file, or a command such as ``python3.12``.
        option: The option that named it, for messages.
        path: A directory that comes first on its Python path.

    Raises:
        UsageError: It is not there, does not run, is too old, or has no torch.
    """
    executable = _executable(named, option)
    try:
        done = subprocess.run(  # noqa: S603
            [executable, "-"],
            input=_PROBE, capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False,
            env={name: value for name, value in os.environ.items() if name not in _LEAKING},
        )  # fmt: skip
        found = json.loads((done.stdout.splitlines() or [""])[-1])  # what is installed there may print, too
        version = tuple(found["version"])
    except subprocess.TimeoutExpired:
        raise UsageError(f"{option} {named}: {executable} did not answer within {_PROBE_TIMEOUT_S:g} s") from None
    except OSError as error:
        raise UsageError(f"{option} {named}: {executable} cannot be run: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        said = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1][:_LONGEST_WORDS]
        raise UsageError(f"{option} {named}: {executable} is not a working Python interpreter: {said}") from None
    spelled = ".".join(map(str, version))
    if version < OLDEST:
        raise UsageError(f"{option} {named}: Python {spelled} (allowed: {'.'.join(map(str, OLDEST))} or newer)")
    if not found["torch"]:
        raise UsageError(
            f"{option} {named}: torch is not installed there, and is all that is needed: "
            f"{executable} -m pip install torch"
        )
    return Interpreter(
        executable=Path(executable),
        path=path,
        backends=tuple(sorted(set(found["backends"]))),
        alone=True,
    )


def check_path(path: Path | None, option: str) -> None:
    """See that a directory for the Python path is one.

    Raises:
        UsageError: It is not.
    """
    if path is not None and not path.is_dir():
        raise UsageError(f"{option} {path}: not a directory that exists; give the one that holds your modules")


def _executable(named: str, option: str) -> str:
    path = Path(named).expanduser().absolute()  # not resolved: a virtual environment's interpreter is a link out of it
    if path.is_dir():
        for inside in ("bin/python", "bin/python3", "python"):
            if (path / inside).is_file():
                return str(path / inside)
        raise UsageError(f"{option} {named}: holds no bin/python; give a virtual environment or a Python interpreter")
    if path.is_file():
        return str(path)
    if "/" not in named and (found := shutil.which(named)):
        return found
    raise UsageError(f"{option} {named}: does not exist; give a virtual environment or a Python interpreter")
