"""Vega-Lite as JavaScript for a page; made once per version of vl-convert, which takes seconds, and kept."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from attnbench.core.errors import LostOutputError
from attnbench.core.files import written_whole

_SNIPPET = "window.vegaEmbed = vegaEmbed;"


def javascript() -> str:
    """The script that sets ``window.vegaEmbed``; it loads nothing else."""
    import vl_convert

    kept = _cache() / f"vega-embed-of-vl-convert-{version('vl-convert-python')}.js"
    with suppress(OSError):
        return kept.read_text(encoding="utf-8")
    script = str(vl_convert.javascript_bundle(_SNIPPET))
    # Where nothing can be kept, the next page takes seconds, too.
    with suppress(OSError, LostOutputError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(kept) as unfinished:
            unfinished.write_text(script, encoding="utf-8")
    return script


def _cache() -> Path:
    """The directory for what can be made again, as the XDG base directory specification says."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "attnbench"
