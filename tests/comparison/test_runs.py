"""Stored runs compared: every verdict, what may be compared, and how the command ends."""

from __future__ import annotations

import csv
import io
import itertools
import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from attnbench.comparison.definitions import Comparison, Verdict
from attnbench.comparison.limits import Limits
from attnbench.comparison.noise import CellNoise, Noise
from attnbench.comparison.runs import compare
from attnbench.comparison.selection import gather
from attnbench.core.errors import NotComparableError, UsageError
from attnbench.core.record import Ceilings, Record, Status
from attnbench.report import terminal
from attnbench.report.comparison_table import comparison_table
from attnbench.results.journal import Journal
from attnbench.results.store import find_runs, read_run
from tests.conftest import Cli
from tests.samples import environment, failed, problem, record

FUSED = "_scaled_dot_product_flash_attention_for_cpu"
MATH = "_scaled_dot_product_attention_math"
_HOURS = itertools.count()
KERNELS = "kernel flash_attention_for_cpu -> attention_math"


def store(
    directory: Path,
    records: Sequence[Record],
    *,
    speed: float = 1.0,
    positions: Mapping[tuple[str, str], int] | None = None,
    **fields: Any,
) -> Path:
    """A run whose machine is ``speed`` times as fast."""
    directory.mkdir(parents=True)
    with Journal(directory) as journal:
        for index, one in enumerate(records):
            position = index if positions is None else positions[one.case, one.backend]
            journal.append(replace(one, position=position))
    ceilings = {"float32": (Ceilings(bytes_per_s=1e10 * speed, flops_per_s=1e11 * speed),)}
    started = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=next(_HOURS))  # each after the one before
    known = replace(environment(), **{"ceilings": ceilings, "started_at": started.isoformat(), **fields})
    (directory / "environment.json").write_text(json.dumps(known.to_json()))
    (directory / "suite.yaml").write_text("name: sample\nbackends: [naive]\n")
    return directory


def history(tmp_path: Path, runs: int = 8) -> list[Path]:
    noise = random.Random(0)
    return [
        store(
            tmp_path / "base" / f"{run}",
            [
                record("sdpa", f"case {cell}", latency_ms=2.0 * noise.gauss(1, 0.01) / speed, kernel=FUSED)
                for cell in range(12)
            ],
            speed=speed,
        )
        for run in range(runs)
        for speed in (noise.choice([1.0, 1.3]),)
    ]


def candidate(
    tmp_path: Path, *, slower: float = 1.0, name: str = "candidate", processes: int = 3, **fields: Any
) -> Path:
    cells = [
        record("sdpa", f"case {cell}", latency_ms=2.0 * (slower if cell == 3 else 1.0), kernel=FUSED, round=process)
        for cell in range(12)
        for process in range(processes)
    ]
    return store(tmp_path / name, cells, **fields)


def day(number: int) -> dict[str, Any]:
    return {"started_at": f"2026-02-{number:02}"}


def compared(base: Sequence[Path], new: Path, **options: Any) -> Comparison:
    return compare([read_run(path) for path in base], read_run(new), **options)


def only(comparison: Comparison) -> tuple[Verdict, str]:
    (cell,) = comparison.cells
    return cell.verdict, cell.reason


@pytest.mark.parametrize(
    ("before", "now", "verdict", "reason"),
    [
        (record(), record(latency_ms=2.1), Verdict.INCONCLUSIVE, ""),
        (record(), record(latency_ms=2.3), Verdict.SUSPECT, ""),
        (record(), failed("naive", Status.OOM, "no room"), Verdict.BROKEN, "oom: no room"),
        (failed("naive", Status.OOM, "no room"), record(), Verdict.FIXED, "was oom: no room"),
        (failed("naive", Status.OOM, "a"), failed("naive", Status.ERROR, "b"), Verdict.STILL_FAILING, "error: b"),
        (failed("naive", Status.UNAVAILABLE, "a"), failed("naive", Status.UNAVAILABLE, "a"), Verdict.STABLE,
         "unavailable: a"),
        (failed("naive", Status.UNAVAILABLE, "a"), failed("naive", Status.WRONG_RESULT, "b"), Verdict.BROKEN,
         "wrong_result: b"),
        (failed("naive", Status.UNSUPPORTED, "a"), failed("naive", Status.CRASHED, "b"), Verdict.BROKEN, "crashed: b"),
        (record(kernel=f"{FUSED} copy_kernel"), record(kernel=f"{FUSED} gemm_kernel"), Verdict.INCONCLUSIVE, ""),
        (record(kernel="flash_attn::_flash_attn_forward k1"), record(kernel="flash_attn_3::fwd k2"),
         Verdict.KERNEL_CHANGED, "kernel flash_attn::_flash_attn_forward k1 -> flash_attn_3::fwd k2"),
        (record(kernel=FUSED), record(kernel=MATH), Verdict.KERNEL_CHANGED, KERNELS),
        (record(kernel="bmm"), record(kernel="copy_"), Verdict.INCONCLUSIVE, ""),
        (record(), record(peak_bytes=5 * 2**20), Verdict.REGRESSED, "peak memory 3.0 -> 5.0 MiB"),
        (record(), record(peak_bytes=3 * 2**20 + 9), Verdict.INCONCLUSIVE, ""),
        (record(peak_bytes=2**40), record(peak_bytes=2**40 + 2**21), Verdict.INCONCLUSIVE, ""),
    ],
)  # fmt: skip
def test_a_cell_beside_a_single_base(
    tmp_path: Path, before: Record, now: Record, verdict: Verdict, reason: str
) -> None:
    others = [record("other")]
    found = compared([store(tmp_path / "a", [before, *others])], store(tmp_path / "b", [now, *others]))
    cell = next(cell for cell in found.cells if cell.backend == "naive")
    assert (cell.verdict, cell.reason) == (verdict, reason)
    assert found.failed == (verdict in (Verdict.BROKEN, Verdict.REGRESSED))


def test_cells_that_are_in_one_run_alone_never_pass(tmp_path: Path) -> None:
    same = record("other")
    found = compared([store(tmp_path / "a", [same, record("naive")])], store(tmp_path / "b", [same, record("sdpa")]))
    assert {cell.backend: cell.verdict for cell in found.cells} == {
        "naive": Verdict.REMOVED, "sdpa": Verdict.ADDED, "other": Verdict.INCONCLUSIVE,
    }  # fmt: skip
    assert found.compared == 1


def test_a_cell_that_is_new_and_fails_is_broken(tmp_path: Path) -> None:
    same = record("other")
    new = [failed("wrong", Status.WRONG_RESULT, "off by 3"), failed("absent", Status.UNAVAILABLE, "not installed")]
    found = compared([store(tmp_path / "a", [same])], store(tmp_path / "b", [same, *new]))
    verdicts = {cell.backend: cell.verdict for cell in found.cells}
    assert verdicts == {"wrong": Verdict.BROKEN, "absent": Verdict.ADDED, "other": Verdict.INCONCLUSIVE}
    assert found.failed


def test_another_problem_of_the_same_name_is_another_cell(tmp_path: Path) -> None:
    base = store(tmp_path / "a", [record(), record("other")])
    now = store(tmp_path / "b", [record(problem=problem(heads=4)), record("other")])
    assert {cell.verdict for cell in compared([base], now).cells} == {
        Verdict.REMOVED,
        Verdict.ADDED,
        Verdict.INCONCLUSIVE,
    }


def test_beside_a_history_a_slow_cell_is_named_and_the_others_are_stable(tmp_path: Path) -> None:
    found = compared(history(tmp_path), candidate(tmp_path, slower=1.2))
    assert (found.cells[0].verdict, found.cells[0].case) == (Verdict.REGRESSED, "case 3")
    assert {cell.verdict for cell in found.cells[1:]} <= {Verdict.STABLE, Verdict.INCONCLUSIVE}
    assert found.cells[0].ratio is not None
    assert found.cells[0].ratio.value == pytest.approx(1.2, rel=0.05)
    assert found.min_detectable_ratio is not None
    assert 1.05 <= found.min_detectable_ratio < 1.12


def test_a_machine_that_is_slower_as_a_whole_is_no_regression(tmp_path: Path) -> None:
    runs = history(tmp_path)
    cells = [
        record("sdpa", f"case {cell}", latency_ms=4.0, kernel=FUSED, round=process)
        for cell in range(12)
        for process in range(3)
    ]
    assert not compared(runs, store(tmp_path / "slow", cells, speed=0.5)).failed
    assert compared(runs, store(tmp_path / "slower", cells)).failed


def test_the_margin_is_the_users(tmp_path: Path) -> None:
    runs = history(tmp_path)
    assert not compared(runs, candidate(tmp_path, slower=1.2), limits=Limits(fail_above=0.3)).failed
    assert compared(runs, candidate(tmp_path, slower=1.4, name="slow"), limits=Limits(fail_above=0.3)).failed


def test_runs_of_unlike_machines_are_refused_by_field(tmp_path: Path) -> None:
    base, now = store(tmp_path / "a", [record()]), store(tmp_path / "b", [record()], cores=64)
    with pytest.raises(NotComparableError, match="not measured alike: cores 2 -> 64; measure both on one machine"):
        compared([base], now)
    found = compared([base], now, anyway=True)
    assert found.fingerprint_mismatch == ("cores 2 -> 64",)
    assert "though not measured alike: cores 2 -> 64" in terminal.render(comparison_table(found), width=200)


def test_what_changed_in_the_environment_is_said(tmp_path: Path) -> None:
    packages = {"torch": "2.14.0", "attrs": "26.1", "xformers": "0.0.36"}
    base = store(tmp_path / "a", [record()])
    now = store(tmp_path / "b", [record()], torch="2.14.0", packages=packages)
    assert compared([base], now).differences == (
        "torch 2.13.0 -> 2.14.0", "xformers absent -> 0.0.36", "attrs absent -> 26.1",
    )  # fmt: skip


def test_a_run_beside_itself_says_nothing(tmp_path: Path) -> None:
    base = store(tmp_path / "a", [record()])
    with pytest.raises(UsageError, match="is given twice"):
        compared([base], base)


def test_disjoint_runs_are_never_fine(tmp_path: Path) -> None:
    found = compared([store(tmp_path / "a", [record("naive")])], store(tmp_path / "b", [record("sdpa")]))
    assert "have no cell in common" in found.not_compared_reason


def test_a_directory_of_runs_is_its_runs_oldest_first_but_the_candidate(tmp_path: Path) -> None:
    runs = history(tmp_path, runs=3)
    assert [run.path for run in find_runs(tmp_path / "base").runs] == runs
    assert [run.path for run in find_runs(tmp_path / "base", but=runs[1]).runs] == [runs[0], runs[2]]
    assert [run.path for run in find_runs(runs[0]).runs] == [runs[0]]


def test_of_a_directory_of_runs_those_that_may_be_compared_are_taken(tmp_path: Path) -> None:
    history(tmp_path, runs=6)
    store(tmp_path / "base" / "other machine", [record()], cores=64)
    other = store(tmp_path / "base" / "other suite", [record()])
    (other / "suite.yaml").write_text("name: other\n")
    side = store(tmp_path / "base" / "ab" / "candidate", [record()])
    (side.parent / "pairs.json").write_text("{}")
    now = read_run(candidate(tmp_path))
    gathered = gather([tmp_path / "base"], now)
    assert len(gathered.runs) == 6
    assert gathered.notes == (f"Left out 2 runs of other suites or machines in {tmp_path / 'base'}.",)
    assert "Left out 2" in terminal.render(
        comparison_table(compare(gathered.runs, now, notes=gathered.notes)), width=200
    )


@pytest.mark.parametrize(
    ("fields", "suite", "said"),
    [({"cores": 64}, "sample", "cores 64 -> 2"), ({}, "other", "suite other, not suite sample")],
)
def test_a_directory_without_a_run_to_compare_with_says_what_its_newest_lacks(
    tmp_path: Path, fields: dict[str, Any], suite: str, said: str
) -> None:
    run = store(tmp_path / "base" / "one", [record()], **fields)
    (run / "suite.yaml").write_text(f"name: {suite}\n")
    with pytest.raises(NotComparableError, match=r"holds no run that .* can be compared with") as caught:
        gather([tmp_path / "base"], read_run(candidate(tmp_path)))
    assert said in str(caught.value)


def test_a_candidate_that_was_cut_short_is_refused_and_never_passes(tmp_path: Path) -> None:
    base = store(tmp_path / "a", [record(), record("sdpa")])
    now = store(tmp_path / "b", [record(cells=2)])
    with pytest.raises(NotComparableError, match=r"incomplete: it has 1 of 2 cells and .*; resume it with .* --resume"):
        compared([base], now)
    found = compared([base], now, anyway=True)
    lacks = "it has 1 of 2 cells and 1 of its cells have fewer than 3 processes"
    assert found.notes == (f"{now} is incomplete: {lacks}.",)
    assert Verdict.REMOVED in found.counts


def test_a_base_that_was_cut_short_is_refused_too_and_left_out_of_a_directory(tmp_path: Path) -> None:
    runs = history(tmp_path, runs=6)
    short = store(tmp_path / "base" / "short", [record("sdpa", "case 0", cells=12)])
    now = candidate(tmp_path)
    with pytest.raises(NotComparableError, match=r"short is incomplete: it has 1 of 12 cells"):
        compared([short], now)
    gathered = gather([tmp_path / "base"], read_run(now))
    assert [run.path for run in gathered.runs] == runs
    assert gathered.notes == (f"Left out 1 incomplete run in {tmp_path / 'base'}.",)


def test_anchors_count_where_every_run_has_them(tmp_path: Path) -> None:
    runs, now = history(tmp_path), candidate(tmp_path, slower=1.4)
    killed = store(tmp_path / "base" / "killed", [record("sdpa", f"case {cell}", kernel=FUSED) for cell in range(12)],
                   ceilings={})  # fmt: skip
    assert killed not in [run.path for run in gather([tmp_path / "base"], read_run(now)).runs]
    found = compared([*runs, killed], now)
    assert found.counts.keys() <= {Verdict.SUSPECT, Verdict.REGRESSED, Verdict.INCONCLUSIVE, Verdict.STABLE}
    assert all(cell.ratio is not None and 0.5 < cell.ratio.value < 2 for cell in found.cells)
    assert "Some runs lack their copy and matmul anchors" in found.notes[0]


def test_a_copy_of_a_run_is_that_run(tmp_path: Path) -> None:
    runs = history(tmp_path, runs=6)
    shutil.copytree(runs[0], tmp_path / "base" / "copy")
    now = candidate(tmp_path)
    shutil.copytree(now, tmp_path / "base" / "itself")
    assert len(gather([tmp_path / "base"], read_run(now)).runs) == 6
    with pytest.raises(UsageError, match=r"is given twice .* is a copy of it"):
        compared([*runs, tmp_path / "base" / "copy"], now)


def test_what_older_runs_alone_had_is_no_longer_asked_for(tmp_path: Path) -> None:
    runs = history(tmp_path, runs=6)
    old = store(tmp_path / "old", [record("sdpa", "removed")], started_at="2025-01-01")
    found = compared([*runs, old], candidate(tmp_path))
    assert Verdict.REMOVED not in found.counts
    assert len(found.cells) == 12


def test_the_run_that_differs_is_named(tmp_path: Path) -> None:
    other = store(tmp_path / "other", [record()], cores=64, started_at="2025-01-01")
    same = store(tmp_path / "same", [record()])
    with pytest.raises(NotComparableError, match=r"other and .* were not measured alike: cores 64 -> 2"):
        compared([other, same], store(tmp_path / "now", [record()]))


def test_where_every_cell_fails_on_both_sides_nothing_was_compared(tmp_path: Path) -> None:
    one = failed("naive", Status.UNAVAILABLE, "no kernels")
    nothing = compared([store(tmp_path / "a", [one], **day(1))], store(tmp_path / "b", [one], **day(2)))
    assert "have no cell that works in both" in nothing.not_compared_reason
    found = compared([store(tmp_path / "c", [one, record("sdpa")])], store(tmp_path / "d", [one, record("sdpa")]))
    assert (found.not_measured, found.counts) == (1, {Verdict.INCONCLUSIVE: 1})


def test_a_cell_that_only_some_base_runs_have_is_judged_by_those(tmp_path: Path) -> None:
    runs = history(tmp_path)
    older = store(tmp_path / "base" / "0 older", [record("sdpa", "case 3", kernel=FUSED)])
    found = compared([older, *runs], candidate(tmp_path, slower=1.2))
    assert (found.cells[0].verdict, found.cells[0].case) == (Verdict.REGRESSED, "case 3")
    assert not any(cell.verdict is Verdict.SUSPECT for cell in found.cells)


def test_beside_one_run_the_noise_of_the_machine_tells_calm_from_suspect(tmp_path: Path) -> None:
    scatter = random.Random(1)
    base, now = candidate(tmp_path, name="base"), candidate(tmp_path, slower=1.15)
    noise = Noise(
        path="noise", suite="sample", device="cpu", started_at="", fingerprint={},
        cells=tuple(
            CellNoise(
                case=f"case {cell}",
                backend="sdpa",
                problem=problem(),
                pairs=tuple(scatter.gauss(0, 0.005) for _ in range(10)),
                processes=tuple(scatter.gauss(0, 0.005) for _ in range(20)),
            )
            for cell in range(12)
        ),
    )  # fmt: skip
    found = compared([base], now, noise=noise)
    assert found.counts == {Verdict.SUSPECT: 1, Verdict.STABLE: 11}
    assert found.min_detectable_ratio is None
    assert "by the noise of the A/A test noise" in found.method
    assert not found.failed


def test_the_command_ends_as_the_verdicts_say(tmp_path: Path, cli: Cli) -> None:
    history(tmp_path)
    candidate(tmp_path, slower=1.2)
    candidate(tmp_path, name="same")
    slow = cli("compare", "base", "candidate", check=1)
    assert slow.stdout.splitlines()[0] == "candidate against 8 runs (sample, Test Machine)"
    assert "12 cells: 1 regressed" in slow.stdout
    assert "case 3" in slow.stdout
    assert "case 4" not in slow.stdout
    same = cli("compare", "base", "same", check=0)
    assert "12 stable" in same.stdout or "inconclusive" in same.stdout
    assert "case 4" in cli("compare", "base", "same", "--all", check=0).stdout
    one = cli("compare", "base/0", "same", "--strict", check=5)
    assert "no change of latency is confirmed" in " ".join(one.stdout.split())


def test_verdicts_as_csv_and_json(tmp_path: Path, cli: Cli) -> None:
    history(tmp_path)
    candidate(tmp_path, slower=1.2)
    rows = list(csv.DictReader(io.StringIO(cli("compare", "base", "candidate", "--format", "csv", check=1).stdout)))
    assert (rows[0]["case"], rows[0]["verdict"]) == ("case 3", "regressed")
    assert float(rows[0]["ratio_low"]) > 1.05
    found = json.loads(cli("compare", "base", "candidate", "--format", "json", check=1).stdout)
    assert found["failed"] is True
    assert len(found["cells"]) == 12
    assert set(asdict(compared(history(tmp_path / "again"), candidate(tmp_path / "again")))) < set(found)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("only",), 2, "give at least one base run and the candidate"),
        (("nowhere", "only"), 2, "nowhere does not exist"),
        (("only", "nowhere"), 2, "nowhere does not exist"),
        (("only", "only"), 2, "is given twice"),
        (("empty", "only"), 2, "empty holds no run"),
        (("cut", "only"), 2, "holds no cells"),
        (("only", "other"), 4, "have no cell in common"),
        (("only", "fingerprint_mismatch"), 4, "cores 2 -> 64"),
        (("only", "microseconds"), 2, "table.csv: not a run's table: there is no column latency_ms"),
        (("only", "truncated"), 2, "table.csv"),
        (("only", "later"), 2, "written by a newer attnbench (schema 99"),
        (("nowhere",), 2, "nowhere does not exist"),
        (("only", "only", "--fail-above", "0"), 2, "--fail-above 0: not a slowdown"),
    ],
)
def test_mistakes_get_one_sentence(tmp_path: Path, cli: Cli, arguments: tuple[str, ...], code: int, said: str) -> None:
    store(tmp_path / "only", [record()])
    store(tmp_path / "other", [record("other")])
    store(tmp_path / "fingerprint_mismatch", [record()], cores=64)
    store(tmp_path / "cut", [])
    (tmp_path / "empty").mkdir()
    text = read_run(tmp_path / "only").table.to_csv(index=False)
    for name, table in (("microseconds", text.replace("latency_ms", "latency_us")), ("truncated", text[:-200])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "table.csv").write_text(table)
    later = store(tmp_path / "later", [record()]) / "journal.jsonl"
    later.write_text(later.read_text().replace('"schema_version":3', '"schema_version":99'))
    stderr = cli("compare", *arguments, check=code).stderr
    assert said in stderr
    assert len(stderr.splitlines()) == 1
