"""Suites that are too much, or hold what nobody sees: one sentence with a line, in no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnbench.core.errors import SuiteError
from attnbench.suite.expansion import load_suite

HEAD = "name: x\nbackends: naive\n"
SWEEP = "sweep: {resolution: 14, window: 7, heads: 1}\n"
BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def said(tmp_path: Path, text: str | bytes, *overrides: str) -> str:
    file = tmp_path / "s.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SuiteError) as caught:
        load_suite(file, known_backends=["naive"], overrides=overrides).cases("cpu")
    message = str(caught.value).replace(str(file), "s.yaml")
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BOMB, "s.yaml:5: more than 100000 values, aliases followed"),
        ("a: &a {b: *a}\n", "s.yaml:1: *a stands inside of what it stands for"),
        ("a: &a\n  <<: *a\n", "s.yaml:2: *a stands inside of what it stands for"),
        (HEAD + "cases: " + "[" * 300 + "]" * 300, "s.yaml:3: more than 20 levels"),
        (HEAD + "cases: " + "{a: " * 30 + "1" + "}" * 30, "s.yaml:3: more than 20 levels"),
        (HEAD + f"sweep: {{resolution: 14, window: 7, heads: {'9' * 5000}}}", "s.yaml:3: a number of 5000 digits"),
        (HEAD + "sweep: {[1, 2]: 3}\n", "s.yaml:3: a list or a mapping in place of a key; a suite needs less"),
        ("a: &a [1]\n*a : 2\n", "s.yaml:2: a list or a mapping in place of a key"),
        (HEAD + f"? {'k' * 100_000}\n: 1\n", f"s.yaml:3: unknown key {'k' * 79}… (allowed: name"),
        (HEAD + "sweep: {2020-01-01: 1}\n", "s.yaml:3: sweep: 2020-01-01 is not allowed (allowed: a key, which is"),
        (HEAD + "backends: [!x 1]\n", "s.yaml:3: the tag '!x'; a suite needs less"),
        (HEAD + "sweep: {resolution: !!int 14, window: 7, heads: 1}", "s.yaml:3: the tag 'tag:yaml.org,2002:int'"),
        (b"name: x\n# \xff\n", "s.yaml:2: not UTF-8 text"),
        (HEAD + "#" * 2**21, "s.yaml is larger than 1 MiB"),
        (HEAD + f"sweep: {{resolution: 14, window: 7, heads: {list(range(1, 400))}, batch: {list(range(1, 400))}}}\n",
         "s.yaml:3: 159201 cases, which nobody could measure (allowed: 100000)"),
        (HEAD + SWEEP + "measure: {processes: 100000000}\n", "100000000 is not allowed (allowed: at most 1000)"),
        (HEAD + SWEEP + "measure: {max_time_s: .inf}\n", "inf is not allowed (allowed: at most 86400)"),
        (HEAD + SWEEP + "exclude:\n- {heads: 1}\n- {heads: 3}\n",
         "s.yaml:6: this entry of exclude matches no problem"),
        (HEAD + 'cases: [{name: "a\\u202eb", resolution: 14, window: 7, heads: 1}]\n', "s.yaml:3: cases.0.name"),
        (HEAD + 'cases: [{name: "a\\e[31m", resolution: 14, window: 7, heads: 1}]\n', "without control characters"),
        (HEAD + 'cases: [{name: "a\\r::error::x", resolution: 14, window: 7, heads: 1}]\n', "without control"),
        (HEAD + f"cases: [{{name: {'y' * 300}, resolution: 14, window: 7, heads: 1}}]\n", "at most 200 characters"),
        (HEAD + "cases: [{name: 2020-01-01, resolution: 14, window: 7, heads: 1}]\n",
         "s.yaml:3: cases.0.name: 2020-01-01 is not allowed (allowed: text)"),
        (HEAD + f"sweep: {{resolution: 14, window: 7, heads: {'x' * 100_000}}}\n", "…"),
        ("base: &base {batch: 0}\n" + HEAD + "sweep: {<<: *base, resolution: 14, window: 7, heads: 1}\n", "s.yaml:1:"),
    ],
)  # fmt: skip
def test_one_sentence_says_what_and_where(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert expected in said(tmp_path, text)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("sweep.batch=0", "--set sweep.batch=0"),
        ("measure.x.y=1", "--set measure.x.y=1"),
        ("name.x=1", "--set name.x=1: name is not a mapping"),
        (f"cases={'[' * 50}{']' * 50}", "--set cases: more than 20 levels"),
        (f"sweep.heads={'x' * 5000}", f"--set sweep.heads={'x' * 67}…: sweep.heads: 'xxx"),
        (f"measure.processes={'9' * 5000}", "--set measure.processes: a number of 5000 digits"),
        ("sweep.heads=[", "--set sweep.heads=[: '[' is not a YAML value"),
    ],
)
def test_options_have_the_same_bounds_and_say_which_they_are(tmp_path: Path, override: str, expected: str) -> None:
    assert expected in said(tmp_path, HEAD + SWEEP, override)


def test_a_key_that_an_option_creates_has_the_option_for_a_line(tmp_path: Path) -> None:
    text = HEAD + "cases: [{resolution: 14, window: 7, heads: 1}]\n"
    assert "resolution is missing" in said(tmp_path, text, "sweep.batch=4")


@pytest.mark.parametrize(("spelled", "means"), [("0x10", 16), ("014", 14), ("1_0", 10), ("0o17", 15), ("+7", 7)])
def test_a_number_means_the_same_in_a_file_and_in_an_option(tmp_path: Path, spelled: str, means: int) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(HEAD + f"sweep: {{resolution: 14, window: 7, heads: {spelled}}}\n")
    (here,) = load_suite(file, known_backends=["naive"]).cases("cpu")
    file.write_text(HEAD + SWEEP)
    (there,) = load_suite(file, known_backends=["naive"], overrides=[f"sweep.heads={spelled}"]).cases("cpu")
    assert here.problem.heads == there.problem.heads == means


@pytest.mark.parametrize("key", ["baseline", "backends", "only"])
def test_a_name_of_a_hundred_thousand_characters_is_not_echoed_whole(tmp_path: Path, key: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f"name: x\nsweep: {{resolution: 14, window: 7, heads: 1}}\n{key}: {'x' * 100_000}\n")
    with pytest.raises(SuiteError, match=r"s.yaml:\d+: .*'xxx+…") as refused:
        load_suite(file, known_backends=["naive"]).cases("cpu")
    assert len(str(refused.value)) < 500


def test_an_option_that_changes_the_sweep_may_leave_nothing_to_exclude(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(HEAD + "sweep: {resolution: 14, window: 7, heads: [1, 3]}\nexclude: [{heads: 3}]\n")
    assert len(load_suite(file, known_backends=["naive"], overrides=["sweep.heads=1"]).cases("cpu")) == 1


def test_what_is_no_ordinary_file_is_not_read(tmp_path: Path) -> None:
    for name, expected in (
        ("/dev/zero", "no ordinary file"), (str(tmp_path), "a directory"), ("a" * 300 + ".yaml", "name too long"),
    ):  # fmt: skip
        with pytest.raises(SuiteError, match=expected):
            load_suite(name, known_backends=["naive"])
