"""Strings that mean something to one of the programs that read or show our output, made from a seed."""

from __future__ import annotations

import random
import sys

PIECES = (
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''", "\uff1dA1", '=HYPERLINK("http://x")', "|calc!A0",
    "**b**", "__init__", "_x_", "~~gone~~", "~label", '~"two words"', "`code`", "[a](http://b.c)", "![i](j.png)",
    "<b>", "</table>", "<!--", "-->", "<script>alert(1)</script>", "&lt;", "&#64;", "&amp;", "&", "http://a.bc/d",
    "https://a.bc?x=1&y=2", "www.a.bc", "a@b.cd", "@name", "@org/team", "#1", "#label", "!12", "GH-7", "owner/name#3",
    ":tada:", ":+1:", "$x^2$", "$$y$$", "$1", "| a | b |", "|", "\\", "\\|", "\\n", "---", "===", "# head", "- item",
    "1. item", "1) item", "> quote", "```", "~~~", "+ x", "* y", "    code", "::error::x", "::set-output name=a::b",
    "##[error]x", "%0A", "%25", "\n::error title=x::y", ",title=z", "::", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07",
    "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "\x1b[2J", "\x9b31m", "\x00", "\x07", "\x08", "\r\n", "\n", "\u2028",
    "\u2029", "\x85", "\x0b", "\x0c", "\u202eright", "\u2066", "\u200f", "\ud800", "\udcff", "\ufffe", "\uffff",
    "]]>", "<![CDATA[", '"', "'", '"; rm', "`id`", "$(id)", "{{ x }}", "{% if %}", "%s", "{0}", "[bold]x[/bold]",
    "[/]", "[@click=x]", "é", "漢字", "🙂", "👩\u200d👧", "e\u0301", "\xa0", "\u3000", " ", "  ", "x" * 90, "naive",
    "stage 1", "a/b", "../..", "C:\\x", "null", "NaN", "1e5", "TRUE",
)  # fmt: skip


def nasty_strings(count: int, *, seed: int = 0) -> list[str]:
    """As many different strings of one to four pieces, and of any characters there are."""
    drawn = random.Random(seed)
    found = dict.fromkeys(PIECES[:count])
    while len(found) < count:
        pieces = drawn.choices(PIECES, k=drawn.randint(1, 4))
        if drawn.random() < 0.2:
            pieces.append("".join(chr(drawn.randint(0, sys.maxunicode)) for _ in range(5)))
        found[drawn.choice(("", " ")).join(pieces)] = None
    return list(found)
