"""The files of a site: each written whole, and those that nothing names any more removed at the end."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from attnbench.core.errors import LostOutputError, OutputError
from attnbench.core.files import write_json, written_whole

MARKER = "attnbench-site.json"
"""Says that a directory is a site, and may be renewed."""
_PARTS = ("runs", "suites", "machines", "assets")
_VERSION = 1


class SiteFiles:
    """Writes a site.

    Args:
        root: Its directory; it is made where it is missing.

    Raises:
        OutputError: It is a file, cannot be written to, or holds something else that would be overwritten.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: set[str] = set()
        taken = [name for name in ("index.html", *_PARTS) if (root / name).exists()]
        if taken and not (root / MARKER).is_file():
            raise OutputError(
                f"--output {root}: it holds {taken[0]}, which no publish wrote; give an empty directory, or a site"
            )
        try:
            for part in _PARTS:
                (root / part).mkdir(parents=True, exist_ok=True)
            write_json(root / MARKER, {"schema_version": _VERSION})
        except (OSError, LostOutputError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise OutputError(f"--output {root} cannot be written: {reason}") from None

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return (self.root / name).is_file()

    def keep(self, *names: str) -> None:
        """Leave files as they are."""
        self._names.update(names)

    def write(self, name: str, text: str) -> None:
        """Write a file, unless it says the same already.

        Raises:
            LostOutputError: It cannot be written; what was there before still is.
        """
        self._names.add(name)
        write_whole(self.root / name, text)

    def remove_others(self) -> None:
        """Remove what an earlier publication wrote and this one did not ask for."""
        for part in _PARTS:
            for file in (self.root / part).iterdir():
                if f"{part}/{file.name}" not in self._names and file.is_file():
                    with suppress(OSError):  # another publication was faster
                        file.unlink()


def write_whole(file: Path, text: str) -> None:
    """Write a file whole, unless it says the same already.

    Raises:
        LostOutputError: It cannot be written; what was there before still is.
    """
    # A lone surrogate, from a file name that is not UTF-8, must not cost the whole file.
    content = text.encode("utf-8", "backslashreplace")
    with suppress(OSError):
        if file.read_bytes() == content:
            return
    with written_whole(file) as unfinished:
        unfinished.write_bytes(content)
