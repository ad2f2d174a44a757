"""Text of stored runs: nothing hidden is believed, formulas come back as names, and machines' words are cleaned."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from attnbench.core.errors import StoredRunError
from attnbench.core.record import Record
from attnbench.results.journal import JOURNAL
from attnbench.results.store import read_run, write_tables
from tests.samples import environment, record

Store = Callable[[Sequence[Record]], Path]
FORMULA = '=HYPERLINK("http://x")'


def test_a_name_that_is_a_formula_is_one_in_the_journal_and_not_in_csv(store_run: Store) -> None:
    directory = store_run([record(FORMULA, "-1", position=0), record("@x", "'=1", position=1)])
    table = write_tables(directory).table
    with (directory / "table.csv").open(newline="") as file:
        written = [(row["case"], row["backend"]) for row in csv.DictReader(file)]
    assert written == [("'-1", f"'{FORMULA}"), ("''=1", "'@x")]
    (directory / JOURNAL).unlink()
    (directory / "table.parquet").unlink()
    assert read_run(directory).table[["case", "backend"]].equals(table[["case", "backend"]])


@pytest.mark.parametrize("hidden", ["a\x1b[31mb", "a\nb", "a\u202eb", "a\ud800b", "a\x00b", "a\u2028b"])
@pytest.mark.parametrize("name", ["case", "backend", "kernel"])
def test_a_record_that_holds_what_nobody_sees_is_refused_with_its_line(
    store_run: Store, name: str, hidden: str
) -> None:
    directory = store_run([record()])
    line = json.loads((directory / JOURNAL).read_text())
    (directory / JOURNAL).write_text(json.dumps({**line, name: hidden}) + "\n")
    with pytest.raises(
        StoredRunError, match=rf"journal\.jsonl:1: .*{name} holds characters that nobody sees"
    ) as caught:
        read_run(directory)
    assert str(caught.value).isprintable()


def test_what_a_driver_says_of_itself_is_one_line_of_plain_text() -> None:
    said = replace(environment(), device_name="GPU\x1b[31m\n::error::x\ud800", packages={"a\u202e": "1\r\n"}).plain()
    assert said.device_name == "GPU ::error::x"
    assert said.packages == {"a": "1"}
    assert environment().plain() == environment()
