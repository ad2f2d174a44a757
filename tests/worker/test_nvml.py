"""The management library of a GPU, its functions replaced by stand-ins of the same signature."""

from __future__ import annotations

import itertools
import os
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pynvml
import pytest

from attnbench.core.conditions import THROTTLING, Glance
from attnbench.core.protocol import Called
from attnbench.run.cell import _interpolated
from attnbench.worker.judge import _Judge
from attnbench.worker.nvml import ManagedGpu, managed_gpu

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


REAL = {name: getattr(pynvml, name) for name in [*ANSWERS, "nvmlDeviceGetClockInfo", "nvmlDeviceGetComputeMode"]}


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


def running(*pids: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(pid=pid) for pid in pids]


@pytest.mark.parametrize(
    ("processes", "participants", "strangers"),
    [
        ((os.getpid(), 11, 12), (11, 12, 13), 0),
        ((os.getpid(), 11, 99), (11,), 1),
        ((101, 102, 103), (11, 12), 0),  # in a container, by the numbers of the host
        ((101, 102, 103, 104), (11, 12), 1),
        ((), (), 0),
    ],
)
def test_participants_of_the_run_are_no_strangers_on_the_gpu(
    library: Library, processes: tuple[int, ...], participants: tuple[int, ...], strangers: int
) -> None:
    library.answer("nvmlDeviceGetComputeRunningProcesses", running(*processes))
    assert ManagedGpu("uuid").glance(participants).foreign_processes == strangers


@pytest.mark.parametrize(
    ("mode", "exclusive"),
    [(pynvml.NVML_COMPUTEMODE_DEFAULT, False), (pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS, True)],
)
def test_a_gpu_may_let_only_one_process_in(library: Library, mode: int, *, exclusive: bool) -> None:
    library.answer("nvmlDeviceGetComputeMode", mode)
    assert ManagedGpu("uuid").is_exclusive() is exclusive


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
    # 300 W; the counter moves in steps of 30 J, and was looked at in the middle of one.
    now = itertools.count(start=0.0, step=0.01)
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    monkeypatch.setattr("time.sleep", lambda _: None)
    clock = itertools.count(start=50.0, step=6.0)
    library.answer("nvmlDeviceGetTotalEnergyConsumption", lambda _: 1e3 * (next(clock) // 30 * 30))
    judge = _Judge()
    judge._gpu = ManagedGpu("uuid")
    found = judge._energy()
    assert found.joules is not None
    assert found.ended_s - found.began_s >= 0.5
    assert found.joules % 30 == 0


@pytest.mark.usefixtures("library")
def test_a_counter_that_stands_still_gives_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    now = itertools.count(start=0.0, step=0.1)
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    monkeypatch.setattr("time.sleep", lambda _: None)
    judge = _Judge()
    judge._gpu = ManagedGpu("uuid")
    assert judge._energy().joules is None


def test_calls_are_counted_at_any_moment_between_two_looks() -> None:
    called = Called(times_s=(0.0, 1.0, 3.0), calls=(0, 10, 30))
    assert [_interpolated(called, moment) for moment in (0.5, 1.0, 2.0, 3.0)] == [5.0, 10.0, 20.0, 30.0]
    assert _interpolated(called, 3.5) == 0.0, "and none where nobody looked"


@pytest.mark.usefixtures("library")
def test_an_old_library_of_the_same_name_is_no_management(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(pynvml, "nvmlDeviceGetCurrentClocksEventReasons")
    with pytest.raises(LookupError, match="an old pynvml hides nvidia-ml-py: pip uninstall pynvml"):
        ManagedGpu("uuid")
