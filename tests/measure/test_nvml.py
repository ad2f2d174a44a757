"""The management library of a GPU, its functions replaced by stand-ins of the same signature."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pynvml
import pytest
import torch
from torch import Tensor

from attnbench.conditions import Glance
from attnbench.flags import THROTTLING
from attnbench.measure.energy import joules_per_call
from attnbench.measure.nvml import ManagedGpu, managed_gpu

ANSWERS: dict[str, Any] = {
    "nvmlInit": None,
    "nvmlDeviceGetHandleByUUID": "handle",
    "nvmlDeviceGetPowerUsage": 350_000,
    "nvmlDeviceGetTemperature": 45,
    "nvmlDeviceGetCurrentClocksEventReasons": 0x4 | 0x40,
    "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=1), SimpleNamespace(pid=2)],
    "nvmlDeviceGetPersistenceMode": 1,
    "nvmlDeviceGetMigMode": [0, 0],
    "nvmlDeviceGetMaxClockInfo": 1980,
    "nvmlDeviceGetPowerManagementLimit": 700_000,
    "nvmlDeviceGetPowerManagementDefaultLimit": 700_000,
    "nvmlSystemGetDriverVersion": "580.1",
    "nvmlDeviceGetTotalEnergyConsumption": 5000,
}


REAL = {name: getattr(pynvml, name) for name in [*ANSWERS, "nvmlDeviceGetClockInfo"]}


class Library:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        for name, answer in ANSWERS.items():
            self.answer(name, answer)
        self.answer(
            "nvmlDeviceGetClockInfo", lambda _, kind: {pynvml.NVML_CLOCK_SM: 1755, pynvml.NVML_CLOCK_MEM: 2619}[kind]
        )

    def answer(self, name: str, answer: Any) -> None:
        raises = isinstance(answer, BaseException) or callable(answer)
        options = {"side_effect": answer} if raises else {"return_value": answer}
        self._patch.setattr(pynvml, name, create_autospec(REAL[name], **options))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    return Library(monkeypatch)


@pytest.mark.usefixtures("library")
def test_a_glance_has_units_and_names() -> None:
    assert ManagedGpu("uuid").glance() == Glance(
        sm_mhz=1755,
        memory_mhz=2619,
        power_w=350,
        temperature_c=45,
        throttle_reasons=("sw_power_cap", "hw_thermal_slowdown"),
        foreign_processes=1,
    )
    pynvml.nvmlDeviceGetHandleByUUID.assert_called_with("GPU-uuid")


@pytest.mark.usefixtures("library")
def test_settings_and_driver() -> None:
    settings = ManagedGpu("uuid").settings()
    assert (settings.max_sm_mhz, settings.power_limit_w, settings.persistence, settings.mig) == (1980, 700, True, False)
    assert ManagedGpu("uuid").driver() == "580.1"
    assert ManagedGpu("uuid").joules() == 5


def test_what_a_gpu_does_not_tell_is_not_known(library: Library) -> None:
    for name in REAL:
        if name not in ("nvmlInit", "nvmlDeviceGetHandleByUUID"):
            library.answer(name, pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED))
    gpu = ManagedGpu("uuid")
    assert gpu.glance() == Glance()
    assert gpu.settings().now == Glance()
    assert gpu.joules() is None


def test_every_reason_is_one_of_the_librarys(library: Library) -> None:
    library.answer("nvmlDeviceGetCurrentClocksEventReasons", 0x1FF)
    assert set(ManagedGpu("uuid").glance().throttle_reasons) > set(THROTTLING)


def test_without_a_library_or_a_driver_there_is_no_management(library: Library) -> None:
    assert managed_gpu(None) is None
    library.answer("nvmlInit", pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))
    assert managed_gpu("uuid") is None
    with pytest.raises(LookupError, match="management library says: NVML Shared Library Not Found"):
        ManagedGpu("uuid")


def test_energy_is_counted_between_two_steps_of_the_counter(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every call takes 3 J and 10 ms; the counter moves in steps of 100 J, and started in the middle of one.
    state = {"joules": 50.0, "now_s": 0.0, "calls": 0}

    def call(_: Tensor) -> None:
        state["joules"] += 3
        state["now_s"] += 0.01
        state["calls"] += 1

    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr("time.perf_counter", lambda: state["now_s"])
    library.answer("nvmlDeviceGetTotalEnergyConsumption", lambda _: 1e3 * (state["joules"] // 100 * 100))
    found = joules_per_call(call, torch.zeros(1), ManagedGpu("uuid"))
    assert found == pytest.approx(3, rel=0.05)
    assert state["now_s"] > 0.5


@pytest.mark.usefixtures("library")
def test_a_counter_that_stands_still_gives_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    times = _seconds()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    assert joules_per_call(lambda _: None, torch.zeros(1), ManagedGpu("uuid")) is None


def _seconds() -> Iterator[float]:
    now = 0.0
    while True:
        yield now
        now += 0.1
