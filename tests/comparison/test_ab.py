"""Two environments in turn: what is measured when, what happens to it, and what is said of mistakes."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from attnbench.comparison.ab import judge
from attnbench.comparison.definitions import Verdict
from attnbench.comparison.limits import Limits
from attnbench.comparison.noise import NOISE, find_noise, read_noise, usable_noise
from attnbench.comparison.pairs import read_pairs
from attnbench.core.errors import NotComparableError, StoredRunError
from attnbench.results.journal import read_journal
from attnbench.results.store import read_run
from tests import stand_in
from tests.conftest import TESTS, Cli
from tests.stand_in import START_WITH

SUITE = """\
name: s
device: cpu
backends: [naive, sdpa]
sweep: {resolution: [14, 28, 42], window: 7, heads: 1}
measure: {max_time_s: 0.01, timeout_s: 20}
"""
SIDES = ("base", "candidate")
CASES = [f"b1 {size}x{size} w7 h1 float32" for size in (14, 28, 42)]
Done = subprocess.CompletedProcess[str]
Alternate = Callable[..., Done]
Noise = Callable[..., str]


@pytest.fixture(autouse=True)
def _suite(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE)


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """A parent that is a process, to be killed or interrupted."""
    return subprocess.Popen(
        [sys.executable, "-c", START_WITH, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def pretend(tmp_path: Path, **sides: dict[str, Any]) -> tuple[str, ...]:
    for name in ("base", "candidate"):
        (tmp_path / name).mkdir(exist_ok=True)
        said = {"scatter": 0.004, **sides.get(name, {})}
        (tmp_path / name / "stand_in.json").write_text(json.dumps(said))
    return "--base-path", "base", "--candidate-path", "candidate"


@pytest.fixture
def ab(cli_here: Cli, tmp_path: Path) -> Alternate:
    """Runs ``attnbench ab`` with stand-ins that pretend what is said of base and candidate."""

    def run(*options: str, check: int, base: dict[str, Any] | None = None, **candidate: Any) -> Done:
        paths = pretend(tmp_path, base=base or {}, candidate=candidate)
        return cli_here("ab", "s.yaml", *paths, "--output", "out", *options, check=check, COLUMNS="160")

    return run


def verdicts(tmp_path: Path) -> dict[tuple[str, str], Verdict]:
    return {(cell.case, cell.backend): cell.verdict for cell in judge(read_pairs(tmp_path / "out")).cells}


def processes(tmp_path: Path, side: str) -> Counter[int]:
    return Counter(record.round for record in read_journal(tmp_path / "out" / side))


def test_where_nothing_changed_five_rounds_are_enough(ab: Alternate, tmp_path: Path) -> None:
    done = ab(check=0)
    assert set(verdicts(tmp_path).values()) == {Verdict.STABLE}
    assert done.stderr.startswith("6 cells on two sides: 5 rounds where nothing changed, about ")
    assert "; 40 at most, about " in done.stderr.splitlines()[0]
    assert "5 rounds: every cell is decided\n" in done.stderr
    assert processes(tmp_path, "base") == processes(tmp_path, "candidate") == dict.fromkeys(range(5), 6)


def test_both_sides_of_a_cell_are_prepared_one_after_the_other_and_each_is_first_in_every_other_round(
    ab: Alternate, tmp_path: Path
) -> None:
    (tmp_path / "turns").touch()
    ab(check=0)
    turns = [line.split(maxsplit=2) for line in (tmp_path / "turns").read_text().splitlines()]
    assert len(turns) == 5 * 2 * 6
    for first, second in zip(turns[::2], turns[1::2], strict=True):
        assert first[1:] == second[1:]
        order = ["base", "candidate"] if int(first[1]) % 2 == 0 else ["candidate", "base"]
        assert [first[0], second[0]] == order
    assert [number for number, _ in itertools.groupby(turns, key=lambda turn: turn[1])] == list("01234")
    cases = {number: tuple(turn[2] for turn in turns if turn[1] == number) for number in "01234"}
    assert len(set(cases.values())) > 1, "rounds go through the cases in another order each"


def test_all_participants_of_a_case_are_sampled_in_turn_and_the_sides_of_each_a_b_b_a(
    ab: Alternate, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[tuple[tuple[int, str], str, str]] = []
    turn = stand_in._Participant._turn

    def noted(self: Any, budget_s: float) -> Any:
        turns.append(((self._cell.round, self._cell.case.name), self._cell.backend, self._cell.side))
        return turn(self, budget_s)

    monkeypatch.setattr(stand_in._Participant, "_turn", noted)
    ab("--set", "measure.max_time_s=10", "--set", "sweep.resolution=[14, 28]", check=0)
    at_work = [(case, list(group)) for case, group in itertools.groupby(turns, key=lambda one: one[0])]
    assert len(at_work) == len({case for case, _ in at_work}) == 5 * 2, "one case after the other"
    for (number, _), group in at_work:
        passes = [group[index : index + 4] for index in range(0, 8 * 4, 4)]  # later some have spent their budget
        for count, taken in enumerate(passes):
            assert {one[1:] for one in taken} == {(name, side) for name in ("naive", "sdpa") for side in SIDES}
            forward = (count + number) % 2 == 0
            assert [side for *_, side in taken] == [*SIDES, *SIDES] if forward else [*SIDES[::-1], *SIDES[::-1]]
        assert passes[0][0][1] != passes[1][0][1], "every backend begins in turn"


def test_a_slower_cell_is_confirmed_by_fresh_pairs_and_named(ab: Alternate, tmp_path: Path) -> None:
    done = ab(check=1, slower={CASES[1]: 1.25})
    found = verdicts(tmp_path)
    assert {cell for cell, verdict in found.items() if verdict is Verdict.REGRESSED} == {
        (CASES[1], "naive"), (CASES[1], "sdpa"),
    }  # fmt: skip
    assert "5 rounds: 2 cells undecided; they get more, up to 40\n" in done.stderr
    assert "15 rounds: every cell is decided\n" in done.stderr
    assert processes(tmp_path, "candidate") == {**dict.fromkeys(range(5), 6), **dict.fromkeys(range(5, 15), 2)}
    assert done.stdout.splitlines()[0] == "candidate against base (s, Test Machine)"
    assert "6 cells: 2 regressed, 4 stable" in done.stdout
    assert CASES[1] in done.stdout
    assert CASES[2] not in done.stdout
    assert "1.25" in done.stdout
    assert "path base -> candidate" in done.stdout


def test_a_faster_candidate_is_as_sure_and_fails_nothing(ab: Alternate, tmp_path: Path) -> None:
    ab(check=0, slower={"sdpa": 0.8})
    assert Counter(verdicts(tmp_path).values()) == {Verdict.IMPROVED: 3, Verdict.STABLE: 3}


def test_a_slowdown_below_what_fails_is_stable(ab: Alternate, tmp_path: Path) -> None:
    done = ab("--fail-above", "50", check=0, slower={"sdpa": 1.25})
    assert "6 cells: 6 stable" in done.stdout
    assert judge(read_pairs(tmp_path / "out"), Limits(fail_above=0.5)).counts == {Verdict.STABLE: 6}


def test_what_fails_is_tried_again_in_the_next_process_and_broken_by_then(ab: Alternate, tmp_path: Path) -> None:
    done = ab(check=1, fails={CASES[0]: list(range(20))})
    assert Counter(verdicts(tmp_path).values()) == {Verdict.BROKEN: 2, Verdict.STABLE: 4}
    assert "crashed: the stand-in was told to" in done.stdout
    for side in ("base", "candidate"):
        tried = [one.round for one in read_journal(tmp_path / "out" / side) if one.case == CASES[0]]
        assert sorted(tried) == [0, 0, 1, 1], "both sides were alive in both rounds"


def test_what_failed_in_one_process_is_suspect(ab: Alternate, tmp_path: Path) -> None:
    done = ab("--strict", check=5, fails={CASES[0]: [2]})
    assert Counter(verdicts(tmp_path).values()) == {Verdict.SUSPECT: 2, Verdict.STABLE: 4}
    assert "2 suspect" in done.stdout
    found = judge(read_pairs(tmp_path / "out"))
    assert found.failed is False
    assert found.cells[0].reason == "failed in 1 of 5 processes (crashed: the stand-in was told to)"


def test_a_failed_process_on_either_side_hides_no_slowdown(ab: Alternate, tmp_path: Path) -> None:
    for name, side in (("early", [2]), ("late", [7])):
        ab(check=1, slower={CASES[0]: 1.3}, fails={CASES[0]: side})
        assert Counter(verdicts(tmp_path).values()) == {Verdict.REGRESSED: 2, Verdict.STABLE: 4}, name
        (tmp_path / "out").rename(tmp_path / f"candidate {name}")
        done = ab(check=1, slower={CASES[0]: 1.3}, base={"fails": {CASES[0]: side}})
        assert Counter(verdicts(tmp_path).values()) == {Verdict.REGRESSED: 2, Verdict.STABLE: 4}, name
        assert "1.3" in done.stdout
        (tmp_path / "out").rename(tmp_path / f"base {name}")


def test_what_breaks_in_fresh_pairs_only_broke(ab: Alternate, tmp_path: Path) -> None:
    done = ab(check=1, slower={CASES[0]: 1.3}, fails={CASES[0]: list(range(7, 20))})
    assert Counter(verdicts(tmp_path).values()) == {Verdict.BROKEN: 2, Verdict.STABLE: 4}
    assert "2 broken" in done.stdout
    assert judge(read_pairs(tmp_path / "out")).cells[0].reason.startswith("failed in 2 of 9 processes")


def test_a_wrong_result_in_one_process_is_never_excused(ab: Alternate, tmp_path: Path) -> None:
    ab(check=1, fails={CASES[0]: [3]}, status="wrong_result")
    assert Counter(verdicts(tmp_path).values()) == {Verdict.BROKEN: 2, Verdict.STABLE: 4}


def test_memory_fails_also_where_too_few_pairs_tell_of_latency(ab: Alternate, tmp_path: Path) -> None:
    ab(check=1, peak_bytes={CASES[0]: 2**26}, base={"fails": {CASES[0]: [1, 2]}})
    assert Counter(verdicts(tmp_path).values()) == {Verdict.REGRESSED: 2, Verdict.STABLE: 4}


def test_a_backend_that_one_side_lacks_broke_or_is_fixed(ab: Alternate, tmp_path: Path) -> None:
    names = ("--backend", "kernels:New", "--backend", "naive")
    ab(*names, check=1, lacks=["kernels:New"])
    assert Counter(verdicts(tmp_path).values()) == {Verdict.BROKEN: 3, Verdict.STABLE: 3}
    (tmp_path / "out").rename(tmp_path / "first")
    ab(*names, check=0, base={"lacks": ["kernels:New"]})
    assert Counter(verdicts(tmp_path).values()) == {Verdict.FIXED: 3, Verdict.STABLE: 3}
    (tmp_path / "out").rename(tmp_path / "second")
    both = ab(*names, check=2, base={"lacks": ["kernels:New"]}, lacks=["kernels:New"])
    assert both.stderr == "attnbench: --backend: kernels:New leads nowhere\n"


def test_two_backends_of_one_environment_are_compared_cell_by_cell(ab: Alternate, tmp_path: Path) -> None:
    done = ab("--base-backend", "naive", "--candidate-backend", "sdpa", check=1, slower={"sdpa": 1.2})
    assert verdicts(tmp_path) == {(case, "naive -> sdpa"): Verdict.REGRESSED for case in CASES}
    assert "backend naive -> sdpa" in done.stdout


def test_two_functions_are_never_compared(ab: Alternate, tmp_path: Path) -> None:
    said = ab(check=4, pattern={"naive": "shifted", "sdpa": "shifted"}).stderr.splitlines()[-1]
    assert said == "attnbench: nothing can be compared: the two sides compute different functions (out)"
    (tmp_path / "out").rename(tmp_path / "first")
    done = ab(check=0, pattern={"naive": "shifted"})
    assert done.stdout.count("the two sides compute different functions") == 3


def test_where_nothing_was_compared_the_exports_say_so(ab: Alternate, tmp_path: Path) -> None:
    ab("--export", "json=v.json", "--export", "junit=j.xml", check=4, pattern={"naive": "shifted", "sdpa": "shifted"})
    assert json.loads((tmp_path / "v.json").read_text())["not_compared_reason"].startswith("nothing can be compared")
    assert (tmp_path / "j.xml").read_text().count("<skipped") == 6


def test_why_nothing_was_judged_stands_in_the_summary_of_the_job(
    ab: Alternate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    stderr = ab("--export", "github", check=4, environment={"cores": 64}).stderr
    assert stderr.splitlines()[0].startswith(
        "::error title=attnbench%3A not judged::the two environments see different devices"
    )
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("\n**NOT JUDGED: the two environments see different devices: cores 2 -> 64")


def test_where_nothing_is_judged_no_file_of_yesterday_stands_for_today(ab: Alternate, tmp_path: Path) -> None:
    exports = ("--export", "junit=j.xml", "--export", "json=v.json")
    for name in ("j.xml", "v.json"):
        (tmp_path / name).write_text("yesterday")
    ab(*exports, check=4, environment={"cores": 64})
    assert not (tmp_path / "v.json").exists()
    text = (tmp_path / "j.xml").read_text()
    assert "<skipped" in text
    assert "the two environments see different devices" in text


def test_an_export_that_is_lost_hides_no_regression(
    ab: Alternate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from attnbench.cli import finish as conclusion
    from attnbench.cli.output import Format
    from attnbench.core.errors import LostOutputError

    def full(*_: object, **__: object) -> None:
        raise LostOutputError("junit.xml cannot be written: No space left on device")

    ab(check=1, slower={"sdpa": 1.25})
    stored = read_pairs(tmp_path / "out")
    monkeypatch.setattr(conclusion, "write_exports", full)
    options = {"output_format": Format.CSV, "everything": False, "exports": [], "strict": False}
    with pytest.raises(SystemExit) as ended:
        conclusion.conclude(judge(stored), stored.candidate, **options)  # type: ignore[arg-type]
    assert ended.value.code == 1
    assert "No space left on device" in capsys.readouterr().err
    with pytest.raises(LostOutputError):
        conclusion.conclude(judge(stored, Limits(fail_above=0.5)), stored.candidate, **options)  # type: ignore[arg-type]


def test_a_base_that_cannot_run_a_cell_at_all_is_remarked(ab: Alternate) -> None:
    done = ab("--backend", "kernels:New", "--backend", "naive", check=0, base={"lacks": ["kernels:New"]})
    said = " ".join(done.stdout.split())
    assert "The base cannot run 3 cells, so they are not compared: kernels:New leads nowhere." in said


def test_two_sides_that_differ_in_nothing_say_so(cli_here: Cli) -> None:
    paths = ("--base-backend", "sdpa", "--candidate-backend", "sdpa")
    done = cli_here("ab", "s.yaml", *paths, "--output", "out", "--all", check=0)
    assert "The two sides do not differ in anything that is recorded." in done.stdout


def test_memory_and_kernels_are_judged_beside_latency(ab: Alternate, tmp_path: Path) -> None:
    math_kernel = "_scaled_dot_product_attention_math"
    done = ab(check=1, peak_bytes={CASES[0]: 2**25}, kernel={CASES[1]: math_kernel})
    assert Counter(verdicts(tmp_path).values()) == {
        Verdict.REGRESSED: 2, Verdict.KERNEL_CHANGED: 2, Verdict.STABLE: 2,
    }  # fmt: skip
    assert "peak memory 16.0 -> 32.0 MiB" in done.stdout


def test_what_fails_on_memory_alone_says_so_with_its_own_limit(ab: Alternate, tmp_path: Path) -> None:
    ab(check=1, peak_bytes={CASES[0]: 2**25})
    for cell in judge(read_pairs(tmp_path / "out")).cells[:2]:
        assert cell.limit == "fails where peak memory grows by more than 1 % and 1 MiB"
    (tmp_path / "out").rename(tmp_path / "first")
    ab(check=1, peak_bytes={CASES[0]: 2**25}, slower={CASES[0]: 1.25})
    for cell in judge(read_pairs(tmp_path / "out")).cells[:2]:
        assert cell.reason == "peak memory 16.0 -> 32.0 MiB; slower"
        assert cell.limit.startswith("fails on slowdowns of at least 3 %; fails where peak memory grows")


def test_the_milliseconds_shown_are_those_the_ratio_was_computed_from(ab: Alternate, tmp_path: Path) -> None:
    ab(check=1, slower={CASES[1]: 1.25}, fails={CASES[1]: [2]})
    for cell in judge(read_pairs(tmp_path / "out")).cells:
        assert cell.ratio is not None
        assert cell.base_ms is not None
        assert cell.candidate_ms is not None
        assert cell.candidate_ms / cell.base_ms == pytest.approx(cell.ratio.value, rel=0.01)


def test_limits_of_cells_and_cells_that_are_set_aside(ab: Alternate, tmp_path: Path) -> None:
    done = ab("--fail-above", f"{CASES[0]}=40", "--flaky", f"{CASES[1]}/sdpa", check=1, slower={"sdpa": 1.25})
    found = {(cell.case, cell.backend): cell for cell in judge(read_pairs(tmp_path / "out"), Limits(
        own={CASES[0]: 0.4}, flaky=(f"{CASES[1]}/sdpa",))).cells}  # fmt: skip
    assert found[CASES[0], "sdpa"].verdict is Verdict.STABLE
    assert (found[CASES[1], "sdpa"].verdict, found[CASES[1], "sdpa"].flaky) == (Verdict.REGRESSED, True)
    assert found[CASES[2], "sdpa"].verdict is Verdict.REGRESSED
    assert "5 cells: 1 regressed, 4 stable; 1 flaky cell not counted" in " ".join(done.stdout.split())
    (tmp_path / "out").rename(tmp_path / "first")
    ab("--fail-above", f"{CASES[0]}=40", "--fail-above", "30", check=0, slower={"sdpa": 1.25})


def test_a_limit_that_names_no_cell_is_refused_before_anything_is_measured(ab: Alternate, tmp_path: Path) -> None:
    done = ab("--fail-above", "b1 14x14=5", check=2)
    assert "--fail-above: there is no case or cell 'b1 14x14' (allowed: CASE or CASE/BACKEND, such as" in done.stderr
    assert not (tmp_path / "out").exists()
    for wrong in ("0", "-3", "nan", "x", "naive=", "inf"):
        assert f"--fail-above {wrong}: not a slowdown in percent" in ab("--fail-above", wrong, check=2).stderr
    assert "given twice" in ab("--fail-above", "3", "--fail-above", "5", check=2).stderr


def test_a_dry_run_says_what_it_would_take_and_measures_nothing(ab: Alternate, tmp_path: Path) -> None:
    done = ab("--dry-run", "--max-rounds", "20", check=0)
    assert done.stdout.startswith("6 cells on two sides: 5 rounds where nothing changed, about ")
    assert "; 20 at most, about " in done.stdout
    assert not (tmp_path / "out").exists()


def test_so_few_rounds_that_nothing_is_ever_confirmed_are_refused(ab: Alternate) -> None:
    said = ab("--max-rounds", "9", check=2).stderr
    assert "--max-rounds 9: in so few no change of 6 cells is ever confirmed (allowed: 10 or more)" in said
    ab("--max-rounds", "10", check=0)


def test_a_cell_that_stays_undecided_gets_all_rounds_there_are(ab: Alternate, tmp_path: Path) -> None:
    done = ab("--max-rounds", "20", "--strict", check=5, scatter=0.3)
    assert "20 rounds: " in done.stderr
    assert "; that was the last\n" in done.stderr
    assert max(processes(tmp_path, "base")) == 19
    found = judge(read_pairs(tmp_path / "out"))
    assert {cell.verdict for cell in found.cells} <= {Verdict.INCONCLUSIVE, Verdict.SUSPECT}


def test_what_is_wrong_on_both_sides_is_listed_and_fails_where_it_is_strict(ab: Alternate, tmp_path: Path) -> None:
    wrong = {"fails": {CASES[0]: list(range(40))}, "status": "wrong_result"}
    done = ab(check=0, base=wrong, **wrong)
    assert Counter(verdicts(tmp_path).values()) == {Verdict.STILL_FAILING: 2, Verdict.STABLE: 4}
    assert "still_failing" in done.stdout
    (tmp_path / "out").rename(tmp_path / "first")
    ab("--strict", check=1, base=wrong, **wrong)


def test_a_backend_that_the_base_lacks_and_that_is_wrong_is_broken(ab: Alternate, tmp_path: Path) -> None:
    names = ("--backend", "kernels:New", "--backend", "naive")
    wrong = {"fails": {"kernels:New": list(range(40))}, "status": "wrong_result"}
    done = ab(*names, check=1, base={"lacks": ["kernels:New"]}, **wrong)
    assert Counter(verdicts(tmp_path).values()) == {Verdict.BROKEN: 3, Verdict.STABLE: 3}
    assert "wrong_result" in done.stdout


def test_environments_that_see_unlike_devices_are_refused_by_field(ab: Alternate) -> None:
    said = ab(check=4, environment={"device": "cuda:0", "device_name": "Test GPU"}).stderr
    assert said.startswith(
        "attnbench: the two environments see different devices: device cpu -> cuda:0; "
        "device_name Test Machine -> Test GPU"
    )
    assert said.count("\n") == 1


def test_stored_pairs_are_judged_again_and_exported(ab: Alternate, cli_here: Cli, tmp_path: Path) -> None:
    ab(check=1, slower={"sdpa": 1.25})
    exports = ("--export", "junit=junit.xml", "--export", "json=verdicts.json", "--export", "csv=deep/er/verdicts.csv")
    assert "6 cells: 3 regressed, 3 stable" in cli_here("compare", "out", *exports, check=1).stdout
    assert (tmp_path / "junit.xml").read_text().count("<failure") == 3
    assert json.loads((tmp_path / "verdicts.json").read_text())["counts"]["regressed"] == 3
    assert (tmp_path / "deep/er/verdicts.csv").read_text().count("\nb1") == 6
    assert {run["backend"] for run in read_run(tmp_path / "out" / "base").table.to_dict("records")} == {"naive", "sdpa"}


@pytest.mark.slow
@pytest.mark.parametrize("moments", [random.Random(seed) for seed in range(2)])
def test_killed_at_any_moment_it_is_gone_on_with_and_no_half_of_a_pair_counts(
    tmp_path: Path, moments: random.Random
) -> None:
    fails = {"fails": {CASES[0]: list(range(20))}}
    paths = pretend(tmp_path, base={"turn_s": 0.01}, candidate={"slower": {"sdpa": 1.25}, **fails})
    kills = 0
    while True:
        option = "--resume" if (tmp_path / "out" / "pairs.json").exists() else "--output"
        process = start(tmp_path, "ab", "s.yaml", *paths, option, "out")
        if kills == 4:
            break
        wanted = records(tmp_path) + moments.randint(1, 16)
        while records(tmp_path) < wanted and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        process.communicate()
        kills += 1
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 1, stderr
    assert Counter(verdicts(tmp_path).values()) == {Verdict.BROKEN: 2, Verdict.REGRESSED: 2, Verdict.STABLE: 2}
    pairs = read_pairs(tmp_path / "out")
    assert {place: len(cell.logs) for place, cell in pairs.cells.items() if cell.logs} == {
        **{(case, 0): 5 for case in CASES[1:]}, **{(case, 1): 15 for case in CASES[1:]},
    }  # fmt: skip


def records(tmp_path: Path) -> int:
    """Lines in both journals."""
    return sum(journal.read_bytes().count(b"\n") for journal in tmp_path.glob("out/*/journal.jsonl"))


def test_a_run_that_is_interrupted_ends_with_3_and_says_how_to_go_on(cli_here: Cli, tmp_path: Path) -> None:
    paths = pretend(tmp_path, base={"turn_s": 0.05})
    process = start(tmp_path, "ab", "s.yaml", *paths, "--output", "out")
    while not (tmp_path / "out" / "candidate" / "journal.jsonl").exists():
        time.sleep(0.05)
    process.terminate()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "interrupted; resume with the same options and --resume out" in stderr
    other = ("--base-path", "base", "--candidate-path", ".", "--resume", "out")
    said = "--resume out: --candidate-path was candidate and is .; give the same options, or measure again"
    assert cli_here("ab", "s.yaml", *other, check=2).stderr == f"attnbench: {said}\n"
    said = "attnbench: out was interrupted; resume it (attnbench ab, the same options, --resume out)"
    assert said in cli_here("compare", "out", check=4).stderr
    cli_here("ab", "s.yaml", *paths, "--resume", "out", check=0)


def interpreter(file: Path, body: str) -> str:
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return str(file)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("exit 1", "is not a working Python interpreter: it printed nothing"),
        ("echo no such library >&2; exit 127", "is not a working Python interpreter: no such library"),
        ("echo hello", "is not a working Python interpreter: it printed nothing"),
        ("""echo '{"version": [3, 9, 1], "torch": false, "backends": []}'""", "Python 3.9.1 (allowed: 3.11 or newer)"),
        (
            """echo '{"version": [3, 12, 1], "torch": false, "backends": []}'""",
            "torch is not installed there, and is all that is needed: ",
        ),
    ],
)
def test_an_environment_that_cannot_serve_is_named(cli_here: Cli, tmp_path: Path, body: str, said: str) -> None:
    python = interpreter(tmp_path / "python", body)
    done = cli_here("ab", "s.yaml", "--base", sys.executable, "--candidate", python, check=2)
    assert f"attnbench: --candidate {python}: " in done.stderr
    assert said in done.stderr
    assert (done.stderr.count("\n"), done.stdout) == (1, "")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("s.yaml",), 2, "nothing differs between the two sides; give --base ENV and --candidate ENV"),
        (("s.yaml", "--base", "nowhere"), 2, "--base nowhere: does not exist; give a virtual environment"),
        (("s.yaml", "--base", "."), 2, "--base .: holds no bin/python; give a virtual environment"),
        (("s.yaml", "--base", "s.yaml"), 2, "s.yaml cannot be run: Permission denied"),
        (("s.yaml", "--candidate-path", "nowhere"), 2, "--candidate-path nowhere: not a directory that exists"),
        (("s.yaml", "--base-backend", "naive"), 2, "--base-backend and --candidate-backend go together; give both"),
        (("s.yaml", "--base-path", ".", "--fail-above", "-1"), 2, "--fail-above -1: not a slowdown in percent"),
        (("s.yaml", "--base-path", ".", "--fail-above", "inf"), 2, "--fail-above inf: not a slowdown in percent"),
        (
            ("s.yaml", "--base-backend", "naive", "--candidate-backend", "sdpa", "--backend", "swin"),
            2,
            "--backend: --base-backend and --candidate-backend already say what runs",
        ),
        (("s.yaml", "--base-path", ".", "--export", "junit"), 2, "--export junit: no file to write"),
        (("s.yaml", "--base-path", ".", "--export", "github"), 2, "GITHUB_"),
        (("s.yaml", "--base-path", ".", "--resume", "nowhere"), 2, "nowhere/pairs.json cannot be read: No such file"),
        (("missing.yaml", "--base-path", "."), 2, "missing.yaml does not exist"),
        (("s.yaml", "--base-path", ".", "--set", "measure.processes=2"), 2, "--set measure.processes: the rule fixes"),
        (
            ("s.yaml", "--base-backend", "naive", "--candidate-backend", "nothing:Mine", "--output", "out"),
            2,
            "--candidate-backend: nothing:Mine leads nowhere",
        ),
    ],
)  # fmt: skip
def test_mistakes_get_one_sentence_before_anything_is_measured(
    cli_here: Cli, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "stand_in.json").write_text(json.dumps({"lacks": ["nothing:Mine"]}))
    done = cli_here("ab", *arguments, check=code)
    assert said in done.stderr
    assert (done.stderr.count("\n"), done.stdout) == (1, "")
    assert not list(tmp_path.glob("results/*/*"))


@pytest.fixture
def measured_noise(cli_here: Cli, tmp_path: Path) -> Noise:
    """Runs ``attnbench noise``; what it prints."""

    def run(*options: str, check: int = 0) -> str:
        (tmp_path / "stand_in.json").write_text(json.dumps({"scatter": 0.02}))
        return cli_here("noise", "s.yaml", *options, check=check, COLUMNS="160").stdout

    return run


def test_noise_tells_the_smallest_slowdown_and_later_comparisons_use_it(
    cli_here: Cli, measured_noise: Noise, tmp_path: Path
) -> None:
    stdout = measured_noise("--pairs", "6")
    (file,) = (tmp_path / "results").glob(f"*/*/*/{NOISE}")
    found = read_noise(file)
    assert {(cell.case, cell.backend) for cell in found.cells} == {
        (case, name) for case in CASES for name in ("naive", "sdpa")
    }
    assert {len(one.pairs) for one in found.cells} == {6}
    assert {len(one.processes) for one in found.cells} == {12}
    assert "Smallest slowdown that attnbench ab can detect here:" in stdout
    assert CASES[0] in stdout
    judged = cli_here("compare", str(file.parent), check=2)
    assert "is an A/A test: both sides are the same" in judged.stderr
    assert find_noise([tmp_path], found.fingerprint) == found
    assert find_noise([tmp_path], {**found.fingerprint, "cores": 64}) is None
    with pytest.raises(NotComparableError, match="was not measured alike: cores 2 -> 64"):
        usable_noise(file, {"fingerprint": {**found.fingerprint, "cores": 64}})
    one_pair = found.to_json()
    one_pair["cells"][0]["pairs"] = [0.1]
    for text, said in (
        ("{}", "is damaged"),
        (json.dumps(one_pair), "must be two or more finite numbers"),
        ('{"schema_version": 9}', "newer"),
        ('{"schema_version": 1}', "damaged"),
    ):
        file.write_text(text)
        with pytest.raises(StoredRunError, match=said):
            read_noise(file)
    assert find_noise([tmp_path], found.fingerprint) is None


def test_noise_as_csv_and_json_and_too_few_pairs(measured_noise: Noise) -> None:
    lines = measured_noise("--pairs", "5", "--format", "csv", "--output", "a").splitlines()
    assert lines[0] == "case,backend,detectable_percent,pairs_percent,processes_percent,pairs"
    assert len(lines) == 7
    cells = json.loads(measured_noise("--pairs", "5", "--format", "json", "--output", "b"))["cells"]
    assert len(cells) == 6
    assert all(cell["detectable_percent"] >= 3 for cell in cells)
    measured_noise("--pairs", "4", check=2)


def test_noise_is_exported_as_its_schema_says(cli_here: Cli, measured_noise: Noise, tmp_path: Path) -> None:
    exports = ("--export", "json=n.json", "--export", "csv=n.csv", "--export", "markdown=n.md")
    printed = measured_noise("--pairs", "5", "--format", "json", *exports)
    assert (tmp_path / "n.json").read_text() == printed
    document = json.loads(printed)
    jsonschema.Draft202012Validator(json.loads(cli_here("schema", "results").stdout)).validate(document)
    assert (document["kind"], document["suite"]) == ("noise", "s")
    cells = [(cell["case"], cell["backend"]) for cell in document["cells"]]
    assert len((tmp_path / "n.csv").read_text().splitlines()) == len(cells) + 1
    assert "A/A test" in (tmp_path / "n.md").read_text()


def test_noise_has_no_verdicts_to_export(cli_here: Cli) -> None:
    said = cli_here("noise", "s.yaml", "--export", "junit=j.xml", check=2).stderr
    assert "'junit' is not a kind of export (allowed: json, csv, markdown)" in said


def test_a_gate_that_measures_none_of_ones_own_code_says_so(ab: Alternate, tmp_path: Path) -> None:
    # Built-in backends on both sides: whatever lies in the two directories, none of it was imported as a backend.
    done = ab(check=0)
    assert "No backend was imported from either directory" in done.stdout
    pairing = read_pairs(tmp_path / "out").pairing
    assert {party.own_backends for party in pairing.parties.values()} == {0}


def test_one_directory_for_both_sides_is_refused(cli_here: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    said = cli_here("ab", "quick", "--base-path", "mine", "--candidate-path", "./mine", check=2).stderr
    assert said.startswith(
        f"attnbench: --base-path and --candidate-path are both '{tmp_path}/mine'; give two directories"
    )


def test_the_latencies_of_a_busy_machine_need_not_give_the_ratio_and_a_note_says_why(ab: Alternate) -> None:
    note = "On a busy machine their quotient differs from it."
    assert note not in " ".join(ab(check=0).stdout.split())
