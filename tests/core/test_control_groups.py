"""One walk finds the quotas of every enclosing control group, for the doctor and for cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnbench.core.control_groups import cpu_groups, quota_cores, waited_s
from attnbench.doctor import facts
from attnbench.worker import monitor


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/", {}, None),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000", "cpu.max": "400000 100000"}, 1.5),
        ("0::/of/the/host", {"cpu.max": "200000 100000"}, 2.0),
        ("3:memory:/\n4:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, None),
        ("4:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "50000", "cpu/a/cpu.cfs_period_us": "100000"}, 0.5),
        (
            "4:cpu,cpuacct:/a/b",
            {
                "cpu,cpuacct/a/cpu.cfs_quota_us": "50000",
                "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
                "cpu,cpuacct/a/b/tasks": "",
            },
            0.5,
        ),
        ("1:name=systemd:/\n0::/x", {"unified/x/cpu.max": "50000 100000"}, 0.5),
        ("0::/../../a", {"a/cpu.max": "50000 100000"}, 0.5),
        ("0::/a", {"a/cpu.max": "50000 0"}, None),
        ("nonsense\n\n0::/a:b", {"a:b/cpu.max": "50000 100000"}, 0.5),
    ],
)
def test_the_quota_is_that_of_the_tightest_enclosing_group(
    tmp_path: Path, groups: str, files: dict[str, str], cores: float | None
) -> None:
    write(tmp_path, files)
    assert quota_cores(cpu_groups(groups, tmp_path)) == cores


def test_waits_of_every_enclosing_group_count_in_both_versions(tmp_path: Path) -> None:
    waits = {
        "a/b/cpu.stat": "usage_usec 5\nnr_throttled 2\nthrottled_usec 3000000",
        "a/cpu.stat": "throttled_usec 500000",
        "cpu.stat": "usage_usec 5",
        "cpu/x/cpu.stat": "nr_periods 5\nthrottled_time 250000000",
    }
    write(tmp_path, waits)
    groups = cpu_groups("4:cpu:/x\n0::/a/b", tmp_path)
    assert waited_s(groups) == pytest.approx(3.75)
    (tmp_path / "a" / "cpu.stat").unlink()
    assert waited_s(groups) == pytest.approx(3.25)


def test_the_doctor_and_cells_ask_the_same_function(tmp_path: Path) -> None:
    assert facts.cpu_groups is monitor.cpu_groups is cpu_groups  # type: ignore[attr-defined]
    assert cpu_groups("", tmp_path) == ()
    assert quota_cores(()) is None
