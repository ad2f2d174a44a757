"""What a page stands in: its style and scripts, inside of it or in files beside it, and what may run there."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from attnbench.report.page.bundle import javascript
from attnbench.report.page.embedding import visible

if TYPE_CHECKING:
    from jinja2 import Template

LIGHT = (
    "#1d6fb8", "#d9580b", "#0f8a5f", "#b83280", "#6b46c1", "#a16207", "#0e7490", "#be123c", "#4d7c0f", "#57534e",
    "#1e3a8a", "#86198f",
)  # fmt: skip
"""The colors of backends."""
DARK = (
    "#63b3ed", "#fb923c", "#34d399", "#f687b3", "#b794f4", "#facc15", "#22d3ee", "#fb7185", "#a3e635", "#a8a29e",
    "#93c5fd", "#e879f9",
)  # fmt: skip
_POLICY = "default-src 'none'; style-src 'unsafe-inline'{style}; img-src data: blob:; script-src {scripts}"


@dataclass(frozen=True, kw_only=True)
class Shell:
    """Style and scripts of a page.

    Its content security policy lets only those scripts run, and nothing else be loaded: a name that got past every
    escape would still do nothing.
    """

    policy: str
    style: str = ""
    scripts: Sequence[str] = ()
    style_address: str = ""
    script_addresses: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = ()
    """Texts and addresses of other pages."""


def one_file() -> Shell:
    """Of a page that holds all it needs. Vega makes functions of specifications, hence ``unsafe-eval``."""
    scripts = (javascript(), _text("tables.js") + _text("page.js"))
    hashes = " ".join(f"'{_hash(script)}'" for script in scripts)
    return Shell(policy=_POLICY.format(style="", scripts=f"'unsafe-eval' {hashes}"), style=_style(), scripts=scripts)


def beside(assets: Mapping[str, str], names: Sequence[str], *, up: str, links: Sequence[tuple[str, str]]) -> Shell:
    """Of a page of a site.

    Args:
        assets: By name, the file, as ``asset_files`` gives them.
        names: The scripts that the page needs.
        up: The way from the page to the site's root: empty, or ``../``.
        links: Texts and addresses of other pages.
    """
    by_name = {name.partition("-")[0] + "." + name.rpartition(".")[2]: f"{up}assets/{name}" for name in assets}
    return Shell(
        policy=_POLICY.format(style=" 'self'", scripts="'self' 'unsafe-eval'"),
        style_address=by_name["page.css"],
        script_addresses=[by_name[name] for name in names],
        links=links,
    )


@cache
def asset_files() -> Mapping[str, str]:
    """By name, the files that pages of a site share; a name tells the content, so that browsers may keep it."""
    contents = {"page.css": _style(), "vega.js": javascript(), **{name: _text(name) for name in _SCRIPTS}}
    return {f"{name.replace('.', f'-{_digest(text)}.')}": text for name, text in contents.items()}


_SCRIPTS = ("tables.js", "page.js", "index.js")


@cache
def template(name: str) -> Template:
    """A template; to compile it takes longer than to fill it in."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("attnbench.report", "page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters["visible"] = visible
    return templates.get_template(name)


@cache
def _style() -> str:
    light, dark = (
        " ".join(f"--series-{number}: {color};" for number, color in enumerate(colors)) for colors in (LIGHT, DARK)
    )
    in_the_dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
    return f":root {{ {light} }}\n{in_the_dark}\n{_text('page.css')}"


@cache
def _text(name: str) -> str:
    return (files("attnbench.report.page") / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
