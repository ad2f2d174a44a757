"""What the files and directories of runs are called, and the suite that lies in one."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from attnbench.core.errors import StoredRunError
from attnbench.core.files import content
from attnbench.core.record import Measure
from attnbench.core.text import echoed
from attnbench.results.journal import SUITE
from attnbench.suite import limits

PARQUET = "table.parquet"
CSV = "table.csv"
UNFINISHED = ".unfinished"
"""How the names of directories end that are being written or removed."""


def read_suite(path: Path) -> dict[str, Any]:
    """The content of a run's suite.yaml; empty where there is none.

    Raises:
        StoredRunError: It is not YAML.
    """
    file = path / SUITE
    if not file.exists():
        return {}
    from ruamel.yaml.error import YAMLError

    try:
        if file.stat().st_size > limits.LARGEST_BYTES:
            raise StoredRunError(f"{file} is larger than {limits.LARGEST_BYTES // 2**20} MiB; the file is damaged")
        data = _parsed(content(file).decode())
    except OSError as error:
        raise StoredRunError(f"{file} cannot be read: {error.strerror}") from None
    except limits.TooMuchError as error:
        raise StoredRunError(f"{file}:{error.line}: {error}; the file is damaged") from None
    except (YAMLError, ValueError, TypeError, OverflowError):
        raise StoredRunError(f"{file}:1: not YAML; the file is damaged") from None
    found = deepcopy(dict(data)) if isinstance(data, dict) else {}
    _check_processes(file, found.get("measure"))
    _check_backends(file, found.get("backends"))
    return found


def processes_asked_for(suite: Mapping[str, Any]) -> int:
    """The number of fresh processes that a stored suite asks for."""
    return int((suite.get("measure") or {}).get("processes", Measure().processes))


def _check_processes(file: Path, measure: Any) -> None:
    """See that the number of processes is one: the rest of a suite is text, or read by its schema."""
    if measure is None:
        return
    processes = measure.get("processes", 1) if isinstance(measure, dict) else measure
    if type(processes) is not int or processes < 1:
        raise StoredRunError(f"{file}: measure.processes: {echoed(processes)} is no number; the file is damaged")


def _check_backends(file: Path, backends: Any) -> None:
    """See that backends are a name, or a list of names and mappings."""
    entries = backends if isinstance(backends, list) else [backends or ""]
    for entry in entries:
        if not isinstance(entry.get("name") if isinstance(entry, dict) else entry, str):
            raise StoredRunError(f"{file}: backends: {echoed(entry)} is no name; the file is damaged")


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """What YAML says: hundreds of runs share few suites, and to parse one takes as long as to read a table."""
    from ruamel.yaml import YAML

    limits.check(text)
    with warnings.catch_warnings(action="ignore"):  # of an anchor that stands twice, which YAML allows
        data = YAML(typ="safe", pure=True).load(text)
    # Escapes can spell half a character, which no table holds.
    json.dumps(data, ensure_ascii=False, default=str, skipkeys=True).encode()
    return data
