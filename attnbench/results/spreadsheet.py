"""Tables as CSV, which people open in spreadsheets: nothing in it is calculated, and it is read back as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from attnbench.core.escaping import from_spreadsheet, spreadsheet
from attnbench.results.table import COLUMNS

_TEXTS = tuple(name for name, kind in COLUMNS.items() if kind == "string")


def csv_text(table: pd.DataFrame) -> str:
    """One line per cell; missing values are empty.

    Text that a spreadsheet would calculate begins with an apostrophe.
    """
    return str(_mapped(table, spreadsheet).to_csv(index=False))


def read_csv(file: Path) -> pd.DataFrame:
    """What ``csv_text`` wrote: text stays text, whatever it looks like: 01, 1e5, null and TRUE are names, too.

    Raises:
        ValueError: It is not CSV.
    """
    empty = {name: [""] for name in COLUMNS if name not in _TEXTS}
    frame = pd.read_csv(file, dtype=dict.fromkeys(_TEXTS, str), keep_default_na=False, na_values=empty)
    return _mapped(frame, from_spreadsheet)


def _mapped(table: pd.DataFrame, spell: Callable[[str], str]) -> pd.DataFrame:
    # Most texts repeat from row to row: each is looked at once.
    spelled = {}
    for name in _TEXTS:
        if name in table:
            each = {text: spell(text) for text in table[name].dropna().unique() if isinstance(text, str)}
            if any(text != shown for text, shown in each.items()):
                spelled[name] = table[name].map(lambda text, each=each: each.get(text, text))
    return table.assign(**spelled) if spelled else table
