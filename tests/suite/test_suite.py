"""From YAML to cases, and what a suite's author is told."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from attnbench.backends import registry
from attnbench.core.cost import cost
from attnbench.core.errors import SuiteError
from attnbench.core.record import Allocator, BackendChoice, Cache
from attnbench.core.shipped_backends import GROUPS
from attnbench.suite.expansion import Suite, built_in_suites, load_suite
from attnbench.suite.schema import json_schema

KNOWN = ["naive", "sdpa", "swin"]
GOOD = """\
name: good
sweep:
  batch: 4
  resolution: [28, 56x42]
  window: [7, 7x14]
  heads: [2, 4]
  dtype: [float32, bfloat16]
exclude:
  - {resolution: 28, window: 7x14}
cases:
  - {name: training, resolution: 14, window: 7, heads: 8, mode: [forward, forward_backward]}
backends: [naive, swin]
measure: {processes: 2, max_time_s: 0.5, cache: cold}
"""

Load = Callable[..., Suite]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write_and_load(text: str, **options: object) -> Suite:
        path = tmp_path / "s.yaml"
        path.write_text(text)
        return load_suite(path, **{"known_backends": KNOWN, **options})  # type: ignore[arg-type]

    return write_and_load


def test_a_sweep_is_the_cartesian_product_without_what_is_excluded(load: Load) -> None:
    cases = load(GOOD).cases("cpu")
    assert len(cases) == 2 * 2 * 2 * 2 - 4 + 2
    assert not [case for case in cases if case.problem.resolution == "28x28" and case.problem.window == "7x14"]
    assert [case.name for case in cases[-2:]] == ["training/forward", "training/forward_backward"]
    assert cases[0].name == "b4 28x28 w7 h2 float32"
    assert {case.device for case in cases} == {"cpu"}


def test_only_the_cases_that_are_named_are_run_and_a_stored_suite_says_so(load: Load) -> None:
    suite = load(GOOD + "only: training/*\n")
    assert [case.name for case in suite.cases("cpu")] == ["training/forward", "training/forward_backward"]
    assert [case.name for case in load(suite.text).cases("cpu")] == ["training/forward", "training/forward_backward"]
    with pytest.raises(SuiteError, match=r"s\.yaml:\d+: no case is named 'trainig'; did you mean training/forward"):
        load(GOOD + "only: [training/*, trainig]\n").cases("cpu")


def test_defaults_fill_in_everything_else(load: Load) -> None:
    suite = load("name: small\ncases: [{resolution: 7, window: 7, heads: 1}]\n")
    assert (suite.device, suite.backends) == ("auto", tuple(KNOWN))
    assert (suite.measure.processes, suite.measure.timeout_s, suite.measure.cache) == (3, 60, None)
    assert suite.cases("cpu")[0].problem.head_dim == 32


def test_measure_is_taken_over(load: Load) -> None:
    measure = load(GOOD).measure
    assert (measure.processes, measure.max_time_s, measure.cache) == (2, 0.5, Cache.COLD)


def test_how_memory_is_kept_and_how_long_who_hung_is_waited_for_are_measured_as_asked(load: Load) -> None:
    measure = load(GOOD).measure
    assert (measure.allocator, measure.hung_timeout_s) == (Allocator.STEADY, 10)
    measure = load(GOOD.replace("processes: 2", "allocator: system, hung_timeout_s: 0.5")).measure
    assert (measure.allocator, measure.hung_timeout_s) == (Allocator.SYSTEM, 0.5)


ELSEWHERE = GOOD.replace(
    "[naive, swin]",
    "[sdpa, {name: sdpa, python: ../other, label: other torch}, {name: far_kernel, python: ~/far/.venv}]",
)


def test_a_backend_may_have_an_environment_and_a_label_of_its_own(load: Load) -> None:
    suite = load(ELSEWHERE)
    assert suite.choices == (
        BackendChoice(label="sdpa", name="sdpa"),
        BackendChoice(label="other torch", name="sdpa", python="../other"),
        BackendChoice(label="far_kernel", name="far_kernel", python="~/far/.venv"),  # installed there, perhaps
    )
    assert suite.backends == ("sdpa", "other torch", "far_kernel")
    assert "label: other torch" in suite.text


def test_a_mapping_that_says_no_more_than_a_name_is_one(load: Load) -> None:
    assert load(GOOD.replace("[naive, swin]", "[{name: naive}, swin]")).choices == load(GOOD).choices
    assert load(GOOD.replace("[naive, swin]", "[naive, {name: naive, label: naive}, swin]")).backends == (
        "naive", "swin",
    )  # fmt: skip


def test_the_baseline_is_a_label_and_by_default_the_first(load: Load) -> None:
    assert load(ELSEWHERE).baseline == "sdpa"
    assert load(ELSEWHERE + "baseline: other torch\n").baseline == "other torch"
    assert load(ELSEWHERE, backends=["other=sdpa", "sdpa"]).baseline == "other"


def test_an_environment_lies_beside_the_suite_that_names_it(load: Load, tmp_path: Path) -> None:
    suite = load(ELSEWHERE)
    assert suite.path_of("../other") == str(tmp_path / "../other")
    assert suite.path_of("/usr/bin/python") == "/usr/bin/python"
    assert suite.path_of("~/far/.venv") == str(Path("~/far/.venv").expanduser())
    assert suite.path_of("python3.12") == "python3.12", "a command, to be looked for"
    (tmp_path / "other").mkdir()
    assert suite.path_of("other") == str(tmp_path / "other")


def test_an_environment_of_the_command_line_is_seen_from_the_working_directory(load: Load) -> None:
    suite = load(GOOD, backends=["fa2=flash_attn@../fa2/.venv"])
    assert suite.path_of("../fa2/.venv") == "../fa2/.venv"


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("sdpa", BackendChoice(label="sdpa", name="sdpa")),
        ("kernels:Mine", BackendChoice(label="kernels:Mine", name="kernels:Mine")),
        ("fast=sdpa", BackendChoice(label="fast", name="sdpa")),
        ("sdpa@python3.12", BackendChoice(label="sdpa", name="sdpa", python="python3.12")),
        ("fa2=flash_attn@../fa2/.venv", BackendChoice(label="fa2", name="flash_attn", python="../fa2/.venv")),
        ("mine=kernels:Mine@a=b@c", BackendChoice(label="mine", name="kernels:Mine", python="a=b@c")),
        ("two words=sdpa", BackendChoice(label="two words", name="sdpa")),
    ],
)
def test_the_command_line_spells_label_name_and_environment_in_one(
    load: Load, text: str, choice: BackendChoice
) -> None:
    assert load(GOOD, backends=[text]).choices == (choice,)
    # Beside its run a suite calls environments from anywhere.
    assert load_suite_again(load(GOOD, backends=[text])) == load(GOOD, backends=[text]).resolved


def load_suite_again(suite: Suite) -> tuple[BackendChoice, ...]:
    """The backends of a suite as it is stored beside its run."""
    path = suite._source.path.with_name("again.yaml")
    path.write_text(suite.text)
    return load_suite(path, known_backends=KNOWN).choices


ALL = GROUPS["all"]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("all", ALL),
        ("[all]", ALL),
        ("cpu", GROUPS["cpu"]),
        ("[cpu, xformers]", (*GROUPS["cpu"], "xformers")),
        ("[xformers, all]", ("xformers", *(name for name in ALL if name != "xformers"))),
        ("[fused, cpu]", tuple(dict.fromkeys((*GROUPS["fused"], *GROUPS["cpu"])))),
        ("[cpu, naive]", GROUPS["cpu"]),
        ("[{name: cpu}]", GROUPS["cpu"]),
        ("swin", ("swin",)),
        ("{name: swin, label: shifted}", ("shifted",)),
        ("[swin, {name: cpu, python: ../other}]", ("swin", "cpu")),
    ],
)
def test_a_group_stands_for_its_backends_in_their_order(load: Load, given: str, names: tuple[str, ...]) -> None:
    suite = load(GOOD.replace("[naive, swin]", given), known_backends=registry.names())
    assert suite.backends == names
    assert suite.baseline == names[0]
    jsonschema.validate(YAML(typ="safe").load(suite._source.path), json_schema())
    assert load_suite(suite._source.path, known_backends=registry.names(), backends=["cpu"]).backends == GROUPS["cpu"]


def test_the_groups_are_of_backends_that_come_with_attnbench_and_do_what_they_say() -> None:
    assert set(GROUPS["fused"]) < set(ALL)
    assert {name for name in ALL if registry.load(name).unavailable("cpu") is None} == set(GROUPS["cpu"])


def test_beside_its_run_a_suite_names_every_backend(load: Load) -> None:
    suite = load(GOOD.replace("[naive, swin]", "[fused, {name: sdpa, python: /other}]  # why"), known_backends=ALL)
    assert "backends: [sdpa_flash, sdpa_efficient, sdpa_cudnn, xformers, flash_attn, {name: sdpa," in suite.text
    assert suite.text == suite.text, "it is not changed by being asked for"
    assert "backends: [naive, sdpa, swin]" in load(GOOD.replace("backends: [naive, swin]\n", "")).text
    assert load("# why\n" + GOOD).text.startswith("# why\nname: good")


def test_every_backend_of_a_group_stands_on_the_line_of_the_group(load: Load) -> None:
    text = GOOD.replace("[naive, swin]", "\n  - naive\n  - fused\n  - swin")
    suite = load(text, known_backends=registry.names())
    lines = [suite.where("backends", index).rpartition(":")[2] for index in range(len(suite.backends))]
    assert lines == ["13", *["14"] * 5, "15"]
    assert load(GOOD.replace("[naive, swin]", "naive")).where("backends", 0).endswith(":12")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["sdap=naive", "sdap=swin"], "--backend: two backends are labelled 'sdap'; give one of them another label"),
        (["sdpa", "sdpa@python3.12"], "--backend: two backends are labelled 'sdpa'; give one of them another label"),
        (["fast=sdap"], "--backend: there is no backend 'sdap'; did you mean sdpa?"),
        (["fast="], "--backend: backends.0.name: '' is not allowed"),
        (["@python3.12"], "--backend: backends.0.name: '' is not allowed (allowed: text that is not empty)"),
    ],
)
def test_a_mistake_on_the_command_line_names_its_option(load: Load, given: list[str], said: str) -> None:
    with pytest.raises(SuiteError) as caught:
        load(GOOD, backends=given)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_gradients_are_asked_for_by_any_case(load: Load) -> None:
    assert load(GOOD).trains
    assert not load(GOOD.replace(", mode: [forward, forward_backward]", "")).trains
    assert load(GOOD.replace("  batch: 4", "  mode: forward_backward")).trains


def test_a_batch_may_differ_by_device(load: Load) -> None:
    suite = load(GOOD.replace("batch: 4", "batch: {cpu: 1, cuda: [64, 128]}"))
    assert suite.needs_device()
    assert {case.problem.batch for case in suite.cases("cpu")} == {1}
    assert {case.problem.batch for case in suite.cases("cuda:0")} == {1, 64, 128}


def test_the_same_problem_twice_is_one_case(load: Load) -> None:
    assert len(load(GOOD.replace("heads: [2, 4]", "heads: [2, 2]")).cases("cpu")) == 6 + 2


def test_the_command_line_changes_values_and_is_named_where_they_are_wrong(load: Load) -> None:
    suite = load(GOOD, overrides=["measure.processes=5", "sweep.heads=[1]"], backends=["sdpa"])
    assert suite.measure.processes == 5
    assert suite.backends == ("sdpa",)
    assert "processes: 5" in suite.text
    with pytest.raises(SuiteError, match=r"^--set sweep.heads=0: sweep.heads: 0 is not allowed"):
        load(GOOD, overrides=["sweep.heads=0"])
    with pytest.raises(SuiteError, match=r"^--set processes: write key=value"):
        load(GOOD, overrides=["processes"])
    with pytest.raises(SuiteError, match=r"^--backend: there is no backend 'sdap'; did you mean sdpa\?"):
        load(GOOD, backends=["sdap"])


MISTAKES = {
    "empty": ("", "s.yaml:1: the suite is empty; it needs at least a name and a sweep or cases"),
    "only comments": ("# nothing\n", "s.yaml:1: the suite is empty"),
    "a list": ("- name: good\n", "s.yaml:1: a suite is a mapping of keys to values, this is a list"),
    "a scalar": ("good\n", "s.yaml:1: a suite is a mapping of keys to values, this is a str"),
    "not YAML": (GOOD.replace("heads: [2, 4]", "heads: [2, 4"), "s.yaml:7: not YAML: expected ',' or ']'"),
    "a tab": (GOOD.replace("  batch: 4", "\tbatch: 4"), "s.yaml:3: not YAML: found character '\\t'"),
    "a key twice": (GOOD + "name: again\n", "s.yaml:14: the key name stands twice; keep one"),
    "unknown key": (GOOD.replace("heads:", "haeds:"), "s.yaml:6: unknown key sweep.haeds; did you mean heads?"),
    "unknown key at the top": (GOOD + "sweeps: 1\n", "s.yaml:14: unknown key sweeps; did you mean sweep?"),
    "unknown key in a case": (
        GOOD.replace("name: training,", "nmae: training,"),
        "s.yaml:11: unknown key cases.0.nmae; did you mean name?",
    ),
    "unknown key in measure": (GOOD.replace("processes", "process"), "s.yaml:13: unknown key measure.process; did"),
    "missing field": (GOOD.replace("  window: [7, 7x14]\n", ""), "s.yaml:2: sweep.window is missing"),
    "missing name": (GOOD.replace("name: good\n", ""), "s.yaml:1: name is missing"),
    "a name with a slash": (GOOD.replace("good", "a/b"), "s.yaml:1: name: 'a/b' is not allowed (allowed: letters"),
    "wrong type": (GOOD.replace("batch: 4", "batch: four"), "s.yaml:3: sweep.batch: 'four' is not allowed (allowed: a"),
    "a fraction": (GOOD.replace("batch: 4", "batch: 4.5"), "s.yaml:3: sweep.batch: 4.5 is not allowed"),
    "larger than any machine": (GOOD.replace("batch: 4", "batch: 9999999999"), "s.yaml:3: sweep.batch: 9999999999 is"),
    "spaces in a size": (GOOD.replace("56x42", "56 x 42"), "s.yaml:4: sweep.resolution: '56 x 42' is not allowed"),
    "two lines in a name": (GOOD.replace("training", '"a\\nb"'), "s.yaml:11: cases.0.name: 'a\\nb' is not allowed"),
    "endless": (GOOD.replace("0.5", ".inf"), "s.yaml:13: measure.max_time_s: inf is not allowed (allowed: at most"),
    "true": (GOOD.replace("batch: 4", "batch: true"), "s.yaml:3: sweep.batch: True is not allowed"),
    "negative": (GOOD.replace("heads: [2, 4]", "heads: [2, -4]"), "s.yaml:6: sweep.heads: -4 is not allowed"),
    "zero": (GOOD.replace("heads: [2, 4]", "heads: 0"), "s.yaml:6: sweep.heads: 0 is not allowed (allowed: a whole"),
    "zero in a size": (GOOD.replace("7x14]", "7x0]"), "s.yaml:5: sweep.window: '7x0' is not allowed (allowed: 1 or"),
    "three sides": (GOOD.replace("56x42", "56x42x3"), "s.yaml:4: sweep.resolution: '56x42x3' is not allowed"),
    "unknown member": (GOOD.replace("bfloat16", "int8"), "s.yaml:7: sweep.dtype: 'int8' is not allowed (allowed: flo"),
    "empty list": (GOOD.replace("heads: [2, 4]", "heads: []"), "s.yaml:6: sweep.heads: there is no value; give one"),
    "null": (GOOD.replace("heads: [2, 4]", "heads:"), "s.yaml:6: sweep.heads: there is no value; give one"),
    "window larger than the map": (
        GOOD.replace("exclude:\n  - {resolution: 28, window: 7x14}", "").replace("7x14", "7x43"),
        "s.yaml:5: window: 7x43 is larger than the map 28x28 (allowed: up to the map, side by side); change it",
    ),
    "window of a case larger than its map": (
        GOOD.replace("resolution: 14, window: 7", "resolution: 5, window: 7"),
        "s.yaml:11: window: 7x7 is larger than the map 5x5",
    ),
    "nothing to run": ("name: none\n", "s.yaml:1: nothing to run; give a sweep or cases"),
    "everything excluded": (
        GOOD.replace("cases:", "  - {heads: [2, 4]}\n  - {heads: 8}\ncases:"),
        "s.yaml:8: nothing is left to run",
    ),
    "two cases of one name": (
        GOOD.replace("cases:", "cases:\n  - {name: training/forward, resolution: 7, window: 7, heads: 1}"),
        "s.yaml:12: two cases are named 'training/forward'; rename one",
    ),
    "unknown backend": (GOOD.replace("[naive, swin]", "[naive, swim]"), "s.yaml:12: there is no backend 'swim'; did"),
    "a value of YAML 1.1's own": (GOOD + "baseline: =\n", "s.yaml:14: there is no backend '='"),
    "a backend longer than a file's name": (
        GOOD.replace("backends: [", f"backends: [{'x' * 400}, "),
        "s.yaml:12: there is no backend 'xxx",
    ),
    "unknown baseline": (GOOD + "baseline: naif\n", "s.yaml:14: there is no backend 'naif'; did you mean naive?"),
    "a misspelt group": (
        GOOD.replace("[naive, swin]", "fuesd"),
        "s.yaml:12: there is no backend 'fuesd'; did you mean fused? (known: naive, sdpa, swin; groups: all, cpu",
    ),
    "a backend of a group that another environment has": (
        GOOD.replace("[naive, swin]", "\n  - {name: naive, python: ../other}\n  - cpu"),
        "s.yaml:14: two backends are labelled 'naive'; give one of them another label",
    ),
    "a group with a label": (
        GOOD.replace("[naive, swin]", "[naive, {name: cpu, label: x}]"),
        "s.yaml:12: cpu is a group of backends; here one backend is meant",
    ),
    "a group as a baseline": (GOOD + "baseline: cpu\n", "s.yaml:14: cpu is a group of backends; here one"),
    "unknown launch": (
        GOOD.replace("cache: cold", "launch: fast"),
        "s.yaml:13: measure.launch: 'fast' is not allowed (allowed: eager, graph)",
    ),
    "a label twice": (
        GOOD.replace("[naive, swin]", "\n  - naive\n  - {name: swin, label: a}\n  - {name: sdpa, label: a}"),
        "s.yaml:15: two backends are labelled 'a'; give one of them another label",
    ),
    "a label that is another's name": (
        GOOD.replace("[naive, swin]", "\n  - naive\n  - {name: swin, label: naive}"),
        "s.yaml:14: two backends are labelled 'naive'; give one of them another label",
    ),
    "unknown key of a backend": (
        GOOD.replace("[naive, swin]", "\n  - naive\n  - {name: swin, pyhton: a}"),
        "s.yaml:14: unknown key backends.1.pyhton; did you mean python? (allowed: name, python, label)",
    ),
    "a backend without a name": (
        GOOD.replace("[naive, swin]", "\n  - naive\n  - {label: swin}"),
        "s.yaml:14: backends.1.name is missing",
    ),
    "an environment without a name": (
        GOOD.replace("[naive, swin]", "\n  - naive\n  - {name: swin, python: ''}"),
        "s.yaml:14: backends.1.python: '' is not allowed (allowed: text that is not empty)",
    ),
    "two lines in a label": (
        GOOD.replace("[naive, swin]", '\n  - naive\n  - {name: swin, label: "a\\nb"}'),
        "s.yaml:14: backends.1.label: 'a\\nb' is not allowed",
    ),
    "a label that the command line could not give": (
        GOOD.replace("[naive, swin]", "\n  - naive\n  - {name: swin, label: a=b}"),
        "s.yaml:14: backends.1.label: 'a=b' is not allowed (allowed: one line of text without = and @)",
    ),
    "a backend that is a list": (
        GOOD.replace("[naive, swin]", "[naive, [swin]]"),
        "s.yaml:12: backends.1: ['swin'] is not allowed (allowed: a name, or a mapping of name, python, label)",
    ),
    "a backend that is a number": (
        GOOD.replace("[naive, swin]", "[naive, 5]"),
        "s.yaml:12: backends.1: 5 is not allowed (allowed: a name, or a mapping of name, python, label)",
    ),
    "a baseline that is no label": (
        GOOD.replace("[naive, swin]", "[naive, {name: swin, label: a}]") + "baseline: b\n",
        "s.yaml:14: there is no backend 'b'",
    ),
    "no backends": (GOOD.replace("[naive, swin]", "[]"), "s.yaml:12: backends: [] is not allowed (allowed: at least"),
    "unknown allocator": (
        GOOD.replace("cache: cold", "allocator: fast"),
        "s.yaml:13: measure.allocator: 'fast' is not allowed (allowed: steady, system)",
    ),
    "no patience": (GOOD.replace("cache: cold", "hung_timeout_s: 0"), "s.yaml:13: measure.hung_timeout_s: "),
    "unknown device": (GOOD + "device: gpu\n", "s.yaml:14: device: 'gpu' is not allowed (allowed: auto, cpu, cuda"),
    "batch for a device only": (
        GOOD.replace("batch: 4", "batch: {cpu: 4}"),
        "s.yaml:3: sweep.batch: there is no batch for cuda; give one for each of cpu, cuda",
    ),
    "zero processes": (GOOD.replace("processes: 2", "processes: 0"), "s.yaml:13: measure.processes: 0 is not"),
    "measure that is a number": (GOOD + "device: 5\n", "s.yaml:14: device: 5 is not allowed (allowed: text)"),
    "an exclusion of nothing": (GOOD.replace("- {resolution: 28, window: 7x14}", "- {}"), "s.yaml:9: exclude.0: an em"),
    "null in an exclusion": (GOOD.replace("28, window: 7x14}", "null}"), "s.yaml:9: exclude.0.resolution: there is no"),
    "no time to check": (GOOD.replace("0.5", "60"), "s.yaml:13: measure: max_time_s 60 must be less than timeout_s 60"),
    "unknown cache": (GOOD.replace("cache: cold", "cache: warm"), "s.yaml:13: measure.cache: 'warm' is not allowed"),
    "a sweep that is a list": ("name: a\nsweep: [1]\n", "s.yaml:2: sweep: [1] is not allowed (allowed: a mapping"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_with_file_and_line(load: Load, mistake: str) -> None:
    text, sentence = MISTAKES[mistake]
    with pytest.raises(SuiteError) as caught:
        load(text).cases("cpu")
    message = str(caught.value)
    assert message.partition("s.yaml")[2].startswith(sentence.partition("s.yaml")[2]), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("quikc", "quikc is neither a file nor a suite; did you mean quick? (suites: "),
        ("missing.yaml", "missing.yaml does not exist"),
        (".", ". is a directory; give a suite's file"),
    ],
)
def test_a_suite_that_is_not_there_is_named(name: str, sentence: str) -> None:
    with pytest.raises(SuiteError) as caught:
        load_suite(name, known_backends=KNOWN)
    assert str(caught.value).startswith(sentence)


def test_a_directory_does_not_hide_a_suite_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quick").mkdir()
    assert load_suite("quick", known_backends=registry.names()).name == "quick"


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SuiteError, match=":1: not UTF-8 text"):
        load_suite(path, known_backends=KNOWN)


BUILT_IN = (
    "quick", "twins_svt_s", "twins_svt_b", "twins_svt_l", "swin_t", "swin_table5", "window_sweep", "resolution_sweep",
    "heads_sweep", "dtype_sweep", "detection", "sdpa_rank",
)  # fmt: skip


def test_these_suites_come_with_the_package() -> None:
    assert set(built_in_suites()) == set(BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_suite_that_comes_with_the_package_says_its_question_and_runs_on_both_devices(name: str) -> None:
    suite = load_suite(name, known_backends=registry.names())
    assert built_in_suites()[name].read_text().startswith("# ")
    assert suite.name == name
    assert suite.description.endswith("?")
    assert suite.cases("cpu")
    assert suite.cases("cuda:0")


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_published_schema_accepts_the_suites(name: str) -> None:
    jsonschema.validate(YAML(typ="safe").load(built_in_suites()[name]), json_schema())


def test_the_published_schema_refuses_what_the_loader_refuses() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for mistake in ("unknown key", "zero", "unknown member", "missing field", "empty list", "unknown device"):
        data = YAML(typ="safe").load(MISTAKES[mistake][0])
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(data, schema)


@pytest.mark.parametrize("name", built_in_suites())
def test_the_median_case_of_a_shipped_suite_keeps_a_large_gpu_busy(name: str) -> None:
    # 100 us of bytes at 3 TB/s, or of FLOPs: what takes no longer than its launches says nothing of a kernel.
    times_us = []
    for case in load_suite(name, known_backends=registry.names()).cases("cuda:0"):
        work = cost(case.problem)
        flops_per_s = 6e13 if case.problem.dtype == "float32" else 8e14
        times_us.append(1e6 * max(work.bytes / 3e12, work.flops / flops_per_s))
    assert statistics.median(times_us) >= 100


def test_quick_has_a_case_for_kernels_of_half_precision() -> None:
    assert {case.problem.dtype for case in load_suite("quick", known_backends=registry.names()).cases("cuda:0")} == {
        "float32", "bfloat16",
    }  # fmt: skip


def test_a_backend_of_ones_own_that_is_named_without_its_class_is_a_hint(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_kernels.py").touch()
    monkeypatch.chdir(tmp_path)
    for named, meant in (("my_kernels.Mine", "my_kernels:Mine"), ("my_kernels", "my_kernels:Class")):
        with pytest.raises(SuiteError, match=f"; did you mean {meant}\\?"):
            load("name: s\nsweep: {resolution: 14, window: 7, heads: 2}\n", backends=[named])
