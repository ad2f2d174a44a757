"""The command line as its users meet it: exit codes, one sentence for a mistake, stdout for data alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.conftest import TESTS, Cli
from tests.suite.test_suite import GOOD
from tests.warm import Warm

COMMANDS = (
    "run", "show", "report", "plot", "recommend", "compare", "ab", "noise", "baseline", "baseline save",
    "baseline accept", "baseline list", "baseline check", "backends", "doctor", "schema", "suites", "suites show",
    "suites init", "runs", "runs rm", "verify", "publish",
)  # fmt: skip


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(cli: Cli, command: str, snapshot: SnapshotAssertion) -> None:
    assert cli(*command.split(), "--help", check=0, COLUMNS="80").stdout == snapshot


def test_help_and_mistakes_import_neither_torch_nor_pandas(tmp_path: Path) -> None:
    commands = [
        "--help", "show --help", "report --help", "publish --help", "plot --help", "recommend --help", "suites --help",
        "suites init --help", "runs rm --help", "run --no-such-option", "--version", "run nothing",
    ]  # fmt: skip
    code = (
        "import sys\n"
        "heavy = {'torch', 'pandas', 'numpy', 'vl_convert', 'plotext', 'jinja2'}\n"
        "from attnbench.cli import main\n"
        f"for command in {commands}:\n"
        "    sys.argv[1:] = command.split()\n"
        "    try: main()\n"
        "    except SystemExit: print('heavy:', command, sorted(heavy & set(sys.modules)), flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [line for line in done.stdout.splitlines() if line.startswith("heavy: ")]
    assert found == [f"heavy: {command} []" for command in commands], done.stderr


def test_no_arguments_print_help(cli: Cli) -> None:
    assert "Read what was measured" in cli().stdout + cli().stderr


def test_the_version_is_the_packages(cli_here: Cli) -> None:
    from attnbench import __version__

    assert cli_here("--version", check=0).stdout == f"attnbench {__version__}\n"


Suite = Callable[[str], Path]


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    def write(text: str) -> Path:
        path = tmp_path / "s.yaml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "missing.yaml"), "attnbench: missing.yaml does not exist"),
        (("run", "quikc"), "attnbench: quikc is neither a file nor a suite; did you mean quick?"),
        (("run", "quick", "--set", "sweep.heads"), "attnbench: --set sweep.heads: write key=value"),
        (("run", "quick", "--backend", "sdap"), "attnbench: --backend: there is no backend 'sdap'; did you mean sdpa?"),
        pytest.param(
            ("run", "quick", "--backend", "no_such_module:Mine"),
            "backend no_such_module:Mine: no_such_module does not import: ModuleNotFoundError: No module named",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("run", "quick", "--backend", "faults:Nothing"), "there is no 'Nothing' in faults", marks=pytest.mark.slow
        ),
        (("show", "nothing"), "attnbench: nothing does not exist; give a run directory"),
        (("show", "."), "attnbench: . is not a run: it holds neither journal.jsonl nor table.csv"),
        (("backends", "--suite", "missing.yaml"), "attnbench: missing.yaml does not exist"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(cli: Cli, arguments: tuple[str, ...], sentence: str) -> None:
    done = cli(*arguments, check=2)
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_a_wrong_suite_is_one_sentence_with_file_and_line(cli_here: Cli, suite: Suite) -> None:
    suite(GOOD.replace("heads: [2, 4]", "heads: [2, 0]"))
    done = cli_here("run", "s.yaml", check=2)
    assert done.stderr == "attnbench: s.yaml:6: sweep.heads: 0 is not allowed (allowed: a whole number, 1 or more)\n"


@pytest.mark.slow
@pytest.mark.skipif("__import__('torch').cuda.is_available()")
def test_a_missing_gpu_is_named_with_its_line(cli: Cli, suite: Suite) -> None:
    suite(GOOD + "device: cuda\n")
    done = cli("run", "s.yaml", check=2)
    assert done.stderr.startswith("attnbench: s.yaml:14: device cuda: torch ")
    assert "sees no GPU; use cpu or auto" in done.stderr


def test_an_output_that_is_in_use_is_refused_before_anything_runs(cli_here: Cli, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    done = cli_here("run", "quick", "--output", "out", check=2)
    assert done.stderr == "attnbench: out exists and is not empty; give a new directory, or remove it\n"
    (tmp_path / "file").touch()
    assert "file is a file; give a directory" in cli_here("run", "quick", "--output", "file", check=2).stderr
    below = cli_here("run", "quick", "--output", "file/below", check=2).stderr
    assert below == "attnbench: file/below cannot be made: Not a directory; give another --output\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_that_cannot_be_written_is_refused(cli_here: Cli, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    assert (
        "locked cannot be written: Permission denied" in cli_here("run", "quick", "--output", "locked", check=2).stderr
    )


def test_an_output_on_a_file_system_without_writing_is_refused(cli_here: Cli) -> None:
    done = cli_here("run", "quick", "--output", "/proc/attnbench", check=2)
    assert "/proc/attnbench cannot be made" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_dry_run_prints_the_cases_and_measures_nothing(cli_here: Cli, suite: Suite, tmp_path: Path) -> None:
    suite(GOOD)
    done = cli_here("run", "s.yaml", "--dry-run", check=0)
    # 4 x 28 x 28 tokens of 64 channels: three read and one written, 4 bytes each; 4 x 49 x 64 operations a token.
    assert done.stdout.splitlines()[0] == "b4 28x28 w7 h2 float32; 3.21 MB, 0.0393 GFLOP"
    assert done.stdout.splitlines()[-1].startswith(
        "training/forward_backward: b1 14x14 w7 h8 float32 forward_backward; 1.61 MB, "
    )
    assert len(done.stdout.splitlines()) == 14
    assert "cases: 14, backends: 2, cells: 28, processes: 2, device: auto" in done.stderr
    assert not (tmp_path / "results").exists()


def test_some_cases_are_measured_alone(cli_here: Cli, suite: Suite) -> None:
    suite(GOOD)
    told = cli_here("run", "s.yaml", "--dry-run", "--case", "training/*", "--case", "b4 28x28 w7 h2 float32", check=0)
    assert [line.partition(";")[0].partition(":")[0] for line in told.stdout.splitlines()] == [
        "b4 28x28 w7 h2 float32", "training/forward", "training/forward_backward",
    ]  # fmt: skip
    refused = cli_here("run", "s.yaml", "--dry-run", "--case", "training/forwards", check=2).stderr
    assert "--case: no case is named 'training/forwards'; did you mean training/forward?" in refused


def test_a_dry_run_says_how_long_a_gpu_takes_at_least(cli_here: Cli, suite: Suite, stored: Path) -> None:
    suite("name: s\nbackends: [naive]\nsweep: {batch: {cpu: 2, cuda: 64}, resolution: 28, window: [7, 28], heads: 2}\n")
    by_bytes, by_flops = cli_here("run", "s.yaml", "--dry-run", "--assume", "H100", check=0).stdout.splitlines()
    # 51.4 MB at 3.35 TB/s; 4 x 784 x 64 operations for each of 64 x 784 tokens at 67 TFLOP/s.
    assert by_bytes == "b64 28x28 w7 h2 float32; 51.4 MB, 0.629 GFLOP, at least 15.3 us (by bytes)"
    assert by_flops == "b64 28x28 w28 h2 float32; 51.4 MB, 10.1 GFLOP, at least 150 us (by FLOPs)"
    told = cli_here("run", "s.yaml", "--dry-run", "--assume", "gtx9", check=2).stderr
    assert told.startswith("attnbench: --assume gtx9: not a GPU (allowed: a100, h100, ")
    assert "goes with --dry-run" in cli_here("run", "s.yaml", "--assume", "h100", check=2).stderr
    assert "no ceilings were measured there" in cli_here(
        "run", "s.yaml", "--dry-run", "--assume", f"./{stored.name}", check=2
    ).stderr  # fmt: skip
    told = cli_here("run", "s.yaml", "--dry-run", "--assume", "latest", check=2).stderr
    assert told.startswith("attnbench: latest: there is no run below results")


def test_show_renders_every_format(cli_here: Cli, stored: Path) -> None:
    assert "stage 1 shifted [layer]" in cli_here("show", str(stored), check=0).stdout
    assert "| sdpa | fastest | 1.00 |" in cli_here("show", str(stored), "--format", "markdown", check=0).stdout
    assert cli_here("show", str(stored), "--format", "csv", check=0).stdout.startswith(
        "suite,case,backend,device,batch"
    )
    assert len(json.loads(cli_here("show", str(stored), "--format", "json", check=0).stdout)["cells"]) == 10


def test_show_does_not_import_torch(stored: Path) -> None:
    code = (
        "import sys; from attnbench.cli import app; "
        f"app(['show', {str(stored)!r}], standalone_mode=False); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=TESTS.parent, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert done.stdout.endswith("False\n")


def test_show_pivots(cli_here: Cli, stored: Path) -> None:
    done = cli_here("show", str(stored), "--rows", "backend", "--columns", "scope", "--metric", "images_per_s", check=0)
    assert "backend / scope" in done.stdout
    assert "--rows and --columns go together" in cli_here("show", str(stored), "--rows", "heads", check=2).stderr
    csv = cli_here("show", str(stored), "--rows", "heads", "--columns", "window", "--format", "csv", check=2)
    assert "--format csv prints every cell; pivot as rich or markdown" in csv.stderr
    assert "--baseline fast: not in this run" in cli_here("show", str(stored), "--baseline", "fast", check=2).stderr


def test_stdout_without_room_is_one_sentence(stored: Path, warm: Warm) -> None:
    command = f"{warm.shell_command()} show {stored} > /dev/full"
    done = subprocess.run(["bash", "-c", command], cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "attnbench: stdout cannot be written: No space left on device\n")


def test_a_reader_who_leaves_early_is_no_error(stored: Path, warm: Warm) -> None:
    command = f"set -o pipefail; {warm.shell_command()} show {stored} --format json | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=TESTS.parent, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_an_error_of_ours_is_told_apart_from_a_regression(monkeypatch: pytest.MonkeyPatch, stored: Path) -> None:
    from attnbench.cli import app
    from attnbench.results import store

    for error, code in ((ZeroDivisionError("ours"), 3), (KeyboardInterrupt(), 3)):

        def fail(_: Path, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(store, "read_run", fail)
        with pytest.raises(SystemExit) as caught:
            app(["show", str(stored)], standalone_mode=False)
        assert caught.value.code == code


def test_backends_are_listed_with_reasons(cli: Cli) -> None:
    done = cli("backends", "--device", "cpu", check=0)
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert lines["naive"].split()[1] == "available"
    assert "unavailable" in lines["xformers"]
    assert "xformers has no kernels for cpu (allowed: cuda)" in lines["xformers"]


@pytest.mark.slow
def test_backends_are_told_per_case_of_a_suite(cli: Cli, suite: Suite) -> None:
    suite(
        "name: s\ndevice: cpu\nbackends: [naive, 'faults:Right', 'faults:OnMap']\ncases:\n"
        "  - {name: plain, resolution: 14, window: 7, heads: 1}\n"
        "  - {name: inside, resolution: 14, window: 7, heads: 1, bias: relative, scope: windows}\n"
    )
    plain, _, inside = cli("backends", "--suite", "s.yaml", check=0).stdout.partition("inside")
    assert plain.count(" supported") == 3
    assert inside.count(" supported") == 1
    assert "bias relative (allowed: none)" in inside
    assert "scope windows (allowed: map, layer; it takes the whole map); bias relative (allowed: none)" in " ".join(
        inside.split()
    )


@pytest.mark.slow
def test_a_backend_that_dies_when_asked_costs_its_own_row(cli: Cli, suite: Suite) -> None:
    suite(
        "name: s\ndevice: cpu\nbackends: ['faults:DiesWhenAskedAboutAProblem', naive]\n"
        "cases: [{resolution: 14, window: 7, heads: 1}]\n"
    )
    text = cli("backends", "--suite", "s.yaml", check=0, COLUMNS="200").stdout
    assert "unsupported   while it was asked, its process exited with code 4" in text
    assert "naive" in text.partition("process exited")[2]
    assert " supported" in text.partition("process exited")[2]


def test_the_schema_is_json_for_editors(cli_here: Cli) -> None:
    assert json.loads(cli_here("schema", "results", check=0).stdout)["oneOf"]
    schema = json.loads(cli_here("schema", check=0).stdout)
    assert schema["properties"]["sweep"]
    assert schema["$defs"]["Fields"]["properties"]["window"]["description"]


@pytest.mark.parametrize(("resolution", "note"), [("384", True), ("56", False), ("200x334", False), ("1024", True)])
def test_a_dry_run_says_what_map_an_image_of_so_many_pixels_has(
    cli: Cli, tmp_path: Path, resolution: str, note: bool
) -> None:
    (tmp_path / "s.yaml").write_text(
        f"name: x\nbackends: naive\nsweep: {{resolution: {resolution}, window: 7, heads: 1}}\n"
    )
    said = cli("run", "s.yaml", "--dry-run", check=0).stderr
    assert ("resolution counts tokens, not pixels" in said) == note
    assert ("the map of an image of 384 pixels is 96 (patches of 4) or 24 (patches of 16)" in said) == (
        resolution == "384"
    )
