"""What no format can hold is spelled, everything else stays."""

from __future__ import annotations

import sys
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from attnbench.core.escaping import legal, one_line, shortened

ANYTHING = st.text(st.characters(codec=None))
EVERY_CHARACTER = "".join(map(chr, range(sys.maxunicode + 1)))


def test_xml_and_utf8_hold_every_character_once_it_is_legal() -> None:
    element = ET.Element("name", value=legal(EVERY_CHARACTER))
    assert ET.fromstring(ET.tostring(element, encoding="utf-8")).attrib["value"] == legal(EVERY_CHARACTER)


def test_no_character_breaks_a_line_once_it_is_on_one() -> None:
    assert len(EVERY_CHARACTER.splitlines()) > 5
    assert len(one_line(EVERY_CHARACTER).splitlines()) == 1
    one_line(EVERY_CHARACTER).encode()


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Cn", "Zl", "Zp"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert one_line(text) == legal(text) == text


@given(ANYTHING, st.integers(1, 30))
def test_shortened_text_says_so_and_other_text_stays(text: str, characters: int) -> None:
    short = shortened(text, characters)
    assert len(short) <= characters
    assert short == text or short.endswith("…")


def test_colors_and_titles_of_terminals_are_left_out() -> None:
    assert legal("\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain \x1b[2Kgone") == "red plain gone"
