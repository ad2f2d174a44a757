"""Each thing that makes numbers bad is found, with what to do; a good machine gets a clean bill."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from attnbench.core.conditions import Glance, GpuSettings
from attnbench.core.flags import process_flags
from attnbench.core.record import Flag
from attnbench.doctor.diagnosis import Facts, diagnose
from attnbench.report import terminal
from attnbench.report.doctor_table import doctor_table
from tests.conftest import Cli
from tests.samples import conditions, environment, record

QUIET = Facts(
    environment=environment(), conditions=conditions(), governor="performance", boost=False, hyperthreads=False,
    clock_source="tsc", available_bytes=2**33, free_disk_bytes=2**36, quota_cores=2.0,
)  # fmt: skip
GPU = GpuSettings(
    max_sm_mhz=1980, power_limit_w=700, default_power_limit_w=700, persistence=True, mig=False,
    now=Glance(
        sm_mhz=1500, temperature_c=40, foreign_processes=0, throttle_reasons=("applications_clocks_setting",)
    ),
)  # fmt: skip
ON_GPU = replace(QUIET, environment=replace(environment(), device="cuda:0"), gpu=GPU)


@pytest.mark.parametrize("facts", [QUIET, ON_GPU], ids=["on the CPU", "on a GPU"])
def test_a_good_machine_has_no_problems(facts: Facts) -> None:
    assert [finding for finding in diagnose(facts) if finding.advice] == []
    assert "no problems" in terminal.render(doctor_table(facts), width=100)


@pytest.mark.parametrize(
    ("fields", "topic", "advice"),
    [
        ({"conditions": conditions(others_s=1.4), "busiest": ("gcc",)}, "other load", "end it"),
        ({"conditions": conditions(steal_s=0.2)}, "steal", "dedicated"),
        ({"conditions": conditions(threads=4), "quota_cores": None}, "threads", "measure.threads: 2 at most"),
        ({"conditions": conditions(threads=2), "hyperthreads": True}, "threads", "measure.threads: 1"),
        ({"conditions": conditions(threads=2), "quota_cores": 1.0}, "CPU quota", "raise it"),
        ({"conditions": conditions(quota_s=0.5)}, "CPU quota", "raise it"),
        ({"governor": "powersave"}, "CPU governor", "cpupower"),
        ({"boost": True}, "CPU clocks", "boost off"),
        ({"clock_source": "hpet"}, "clock source", "tsc"),
        ({"python_is_debug_build": True}, "builds", "release builds"),
        ({"torch_is_debug_build": True}, "builds", "release builds"),
        ({"variables": {"CUDA_LAUNCH_BLOCKING": "1"}}, "variable", "unset CUDA_LAUNCH_BLOCKING"),
        ({"available_bytes": 2**20}, "memory", "swapping"),
        ({"free_disk_bytes": 2**20}, "disk", "make room"),
        ({"holder": "attnbench run s"}, "device", "--wait"),
    ],
)
def test_what_is_wrong_is_found_first(fields: dict[str, Any], topic: str, advice: str) -> None:
    first = diagnose(replace(QUIET, **fields))[0]
    assert first.topic == topic
    assert advice in first.advice


@pytest.mark.parametrize(
    ("gpu", "topic", "advice"),
    [
        (None, "GPU state", "nvidia-ml-py"),
        (replace(GPU, now=replace(GPU.now, throttle_reasons=())), "GPU clocks", "nvidia-smi -lgc"),
        (replace(GPU, persistence=False), "persistence", "nvidia-smi -pm 1"),
        (replace(GPU, power_limit_w=400), "power limit", "nvidia-smi -pl 700"),
        (replace(GPU, mig=True), "MIG", "same part"),
        (replace(GPU, now=replace(GPU.now, foreign_processes=2)), "GPU sharing", "end them"),
        (replace(GPU, now=replace(GPU.now, temperature_c=90)), "temperature", "cool"),
        (
            replace(GPU, now=replace(GPU.now, throttle_reasons=("hw_slowdown", "applications_clocks_setting"))),
            "throttling",
            "cool",
        ),
    ],
)
def test_what_is_wrong_with_a_gpu_is_found(gpu: GpuSettings | None, topic: str, advice: str) -> None:
    first = diagnose(replace(ON_GPU, gpu=gpu))[0]
    assert first.topic == topic
    assert advice in first.advice


@pytest.mark.parametrize("others_s", [0.0, 0.9, 1.04, 1.06, 1.9])
@pytest.mark.parametrize("steal_s", [0.0, 0.04, 0.2])
def test_the_doctor_advises_exactly_where_a_cell_would_be_contended(others_s: float, steal_s: float) -> None:
    found = conditions(others_s=others_s, steal_s=steal_s)
    load = [one for one in diagnose(replace(QUIET, conditions=found)) if one.topic in ("other load", "steal")]
    contended = Flag.CONTENDED in process_flags(record(conditions=found))
    assert any(one.advice for one in load) == contended


def test_the_doctor_fits_one_screen(cli: Cli) -> None:
    done = cli("doctor", check=0, COLUMNS="80", CUDA_LAUNCH_BLOCKING="1")
    lines = done.stdout.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert "unset CUDA_LAUNCH_BLOCKING" in done.stdout
    assert "torch 2." in done.stdout.replace("\n", " ")


def test_the_doctor_names_a_device_that_is_not_there(cli: Cli) -> None:
    assert "device cuda:9" in cli("doctor", "--device", "cuda:9", check=2).stderr
