r"""One escaping per kind of output, so that no text is ever taken for markup, a command or a formula.

Text of every output is legal first: what XML, JSON and UTF-8 cannot hold, and what nobody sees but terminals obey, is
spelled: an escape character as ``\x1b``.
"""

from __future__ import annotations

import re

_COLORS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
"""Control sequences of terminals (ECMA-48, section 5.4), and those that set a terminal's title."""
_BIDIRECTIONAL = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Characters that change the order in which others are shown (Unicode standard annex 9)."""
_NOWHERE = "\x7f-\x9f\ud800-\udfff\ufffe\uffff" + _BIDIRECTIONAL
_ILLEGAL = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f{_NOWHERE}]")
"""Characters that XML 1.0 forbids (section 2.2) or discourages, and those that change the order of others."""
_UNSEEN = re.compile(f"[\x00-\x1f\u2028\u2029{_NOWHERE}]")
"""The same, and every character that starts a new line."""

_GITHUB = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_GITHUB_PROPERTY = _GITHUB | str.maketrans({":": "%3A", ",": "%2C"})

_FORMULA = re.compile("'*\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20]")
"""How text begins that spreadsheets calculate, also in full width; with apostrophes, so that each can be undone."""
_NEUTRAL = "'"

_MARKUP = re.compile(r"[\\|<*`\[\]~]|(?<![^\W_])_+|_+(?![^\W_])|&(?=#|\w)")
r"""Characters that GFM reads as markup; not the underscores in ``wrong_result``."""
_LINKED = re.compile(
    r"(?P<before>@(?=\w)|[#!](?=\w)|:(?=//)|:(?=[\w+-]+:)|\bGH(?=-\d)|\\~(?=[^\W\d]|\"))|(?<=\bwww)\.", re.IGNORECASE
)
"""What GitHub and GitLab make links, mentions, labels and pictures of, after Markdown was read."""
_APART = "<!-- -->"
"""Nothing, to whoever reads the page: what stands on its two sides is no longer one word."""
_NUMBER = re.compile("-|[0-9][0-9.,%x]*")
_BLOCK = re.compile(r"(?:[-+=>#]|\d+(?=[.)]))")
"""How lines begin that are lists, headings and quotes."""


def without_colors(text: str) -> str:
    r"""Text without what sets a terminal's colors, title and links.

    >>> without_colors("\x1b[31mred\x1b[0m")
    'red'
    """
    return _COLORS.sub("", text)


def legal(text: str) -> str:
    r"""Text that XML, JSON and UTF-8 can hold: terminal colors are removed, other control characters are spelled.

    >>> print(legal("\x1b[31mred\x1b[0m, bell \x07"))
    red, bell \x07
    """
    return _ILLEGAL.sub(_spelled, without_colors(text))


def one_line(text: str) -> str:
    r"""Legal text in one line, for terminals, logs and names: line breaks are spelled, too.

    >>> print(one_line("first\nsecond"))
    first\nsecond
    """
    return _UNSEEN.sub(_spelled, without_colors(text))


def is_plain(text: str) -> bool:
    """Whether text is one line of well-formed Unicode in which nothing is hidden, as all text is that is stored."""
    return not _UNSEEN.search(text)


def markdown(text: str) -> str:
    r"""Text inside a line of GitHub-flavoured Markdown, where nothing of it is markup, a link or a mention.

    >>> print(markdown("a|b [c] __init__.py, wrong_result"))
    a\|b \[c\] \_\_init\_\_.py, wrong_result
    >>> print(markdown("@team, see #12"))
    @<!-- -->team, see #<!-- -->12
    """
    if _NUMBER.fullmatch(text):  # as most cells of a table are
        return text
    escaped = _MARKUP.sub(lambda found: "".join(f"\\{character}" for character in found[0]), one_line(text).strip())
    # A dollar sign would begin a formula, which only an element of its own prevents.
    return _LINKED.sub(_apart, escaped).replace("$", "<span>$</span>")


def markdown_block(text: str) -> str:
    r"""The same at the start of a line.

    >>> print(markdown_block("1. no heading"))
    1\. no heading
    """
    escaped = markdown(text)
    start = _BLOCK.match(escaped)
    if start is None:
        return escaped
    at = start.end() if start[0][0].isdigit() else 0
    return f"{escaped[:at]}\\{escaped[at:]}"


def spreadsheet(text: str) -> str:
    """Text of one line that no spreadsheet calculates: an apostrophe before a formula, as spreadsheets have it.

    >>> spreadsheet("=1+1"), spreadsheet("'=1"), spreadsheet("sdpa")
    ("'=1+1", "''=1", 'sdpa')
    """
    shown = one_line(text)
    return f"{_NEUTRAL}{shown}" if _FORMULA.match(shown) else shown


def from_spreadsheet(text: str) -> str:
    """What ``spreadsheet`` was given.

    >>> from_spreadsheet("'=1+1"), from_spreadsheet("'tis")
    ('=1+1', "'tis")
    """
    return text.removeprefix(_NEUTRAL) if _FORMULA.match(text) else text


def github_message(text: str) -> str:
    """The message of an annotation in a GitHub log."""
    return one_line(legal(text).translate(_GITHUB))


def github_property(text: str) -> str:
    """The title, file or another property of an annotation in a GitHub log."""
    return one_line(legal(text).translate(_GITHUB_PROPERTY))


def label(text: str) -> str:
    r"""The value of an OpenMetrics label, before that format's own escapes: GitLab takes ``#`` for a comment anywhere.

    >>> print(label("case #1"))
    case \x231
    """
    return one_line(text).replace("#", r"\x23")


def encodable(text: str) -> str:
    r"""Text that JSON can hold, which spells everything but half a character by itself.

    >>> print(encodable("results/\udcff"))
    results/\udcff
    """
    return re.sub("[\ud800-\udfff]", _spelled, text)


def shortened(text: str, characters: int) -> str:
    """Text of at most so many characters; an ellipsis marks what was cut off.

    >>> shortened("sdpa_efficient", 6)
    'sdpa_…'
    """
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _apart(found: re.Match[str]) -> str:
    return found[0] + _APART if found["before"] else _APART + found[0]


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
