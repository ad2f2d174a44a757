"""A GPU through its management library: clocks, power, what slows it down, who else uses it, the energy it took."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from attnbench.core.conditions import THROTTLING, Glance, GpuSettings

_OTHER_REASONS = ("gpu_idle", "applications_clocks_setting", "display_clock_setting")


class ManagedGpu:
    """One GPU, found by its UUID: the library counts differently from CUDA.

    Args:
        uuid: As CUDA gives it, without a prefix.

    Raises:
        LookupError: There is no management library, or it does not know the GPU.
    """

    def __init__(self, uuid: str) -> None:
        try:
            import pynvml
        except ImportError:
            raise LookupError("nvidia-ml-py is not installed: pip install nvidia-ml-py") from None
        self._library: Any = pynvml
        if not hasattr(pynvml, "nvmlDeviceGetCurrentClocksEventReasons"):
            raise LookupError("an old pynvml hides nvidia-ml-py: pip uninstall pynvml && pip install nvidia-ml-py")
        try:
            pynvml.nvmlInit()
            self._gpu = self._find(uuid)
        except Exception as error:  # NVMLError, and NVMLLibraryMismatchError, which is none
            raise LookupError(f"the GPU's management library says: {error}") from None

    def _find(self, uuid: str) -> Any:
        try:
            return self._library.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        except self._library.NVMLError:
            return self._library.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")  # a part of a GPU has one of its own

    def glance(self, participants: Sequence[int] = ()) -> Glance:
        """What the GPU tells of itself now.

        Args:
            participants: Processes that are no strangers, besides this one.
        """
        library, gpu = self._library, self._gpu
        return Glance(
            sm_mhz=self._ask(library.nvmlDeviceGetClockInfo, gpu, library.NVML_CLOCK_SM),
            memory_mhz=self._ask(library.nvmlDeviceGetClockInfo, gpu, library.NVML_CLOCK_MEM),
            power_w=self._ask(library.nvmlDeviceGetPowerUsage, gpu, scale=1e-3),
            temperature_c=self._ask(library.nvmlDeviceGetTemperature, gpu, library.NVML_TEMPERATURE_GPU),
            throttle_reasons=self._throttle_reasons(),
            foreign_processes=self._foreign_processes({os.getpid(), *participants}),
        )

    def settings(self) -> GpuSettings:
        """How the GPU is set up."""
        library, gpu = self._library, self._gpu
        persistence = self._ask(library.nvmlDeviceGetPersistenceMode, gpu)
        mig = self._value(library.nvmlDeviceGetMigMode, gpu)
        return GpuSettings(
            max_sm_mhz=self._ask(library.nvmlDeviceGetMaxClockInfo, gpu, library.NVML_CLOCK_SM),
            power_limit_w=self._ask(library.nvmlDeviceGetPowerManagementLimit, gpu, scale=1e-3),
            default_power_limit_w=self._ask(library.nvmlDeviceGetPowerManagementDefaultLimit, gpu, scale=1e-3),
            persistence=None if persistence is None else bool(persistence),
            mig=None if mig is None else bool(mig[0]),
            now=self.glance(),
        )

    def driver(self) -> str | None:
        """The driver's version."""
        version = self._value(self._library.nvmlSystemGetDriverVersion)
        return None if version is None else str(version)

    def joules(self) -> float | None:
        """Energy taken since the driver was loaded; it is counted in steps of up to a tenth of a second."""
        return self._ask(self._library.nvmlDeviceGetTotalEnergyConsumption, self._gpu, scale=1e-3)

    def _throttle_reasons(self) -> tuple[str, ...]:
        library = self._library
        mask = self._value(library.nvmlDeviceGetCurrentClocksEventReasons, self._gpu) or 0
        return tuple(
            reason
            for reason in (*THROTTLING, *_OTHER_REASONS)
            if mask & getattr(library, "nvmlClocksEventReason" + "".join(map(str.capitalize, reason.split("_"))))
        )

    def _foreign_processes(self, ours: set[int]) -> int | None:
        processes = self._value(self._library.nvmlDeviceGetComputeRunningProcesses, self._gpu)
        if processes is None:
            return None
        strangers = [process.pid for process in processes if process.pid not in ours]
        if len(strangers) == len(processes):
            # In a container the library gives the host's numbers: as many as we have may be ours.
            return max(0, len(strangers) - len(ours))
        return len(strangers)

    def is_exclusive(self) -> bool:
        """Whether the GPU lets only one process use it at a time."""
        library = self._library
        modes = (library.NVML_COMPUTEMODE_EXCLUSIVE_THREAD, library.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS)
        return self._value(library.nvmlDeviceGetComputeMode, self._gpu) in modes

    def _ask(self, question: Callable[..., Any], *arguments: Any, scale: float = 1.0) -> float | None:
        value = self._value(question, *arguments)
        return None if value is None else float(value) * scale

    def _value(self, question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return question(*arguments)
        except self._library.NVMLError:  # not every GPU, driver or virtual machine answers everything
            return None


def managed_gpu(uuid: str | None) -> ManagedGpu | None:
    """The GPU's management, or None where there is no GPU or no management."""
    try:
        return None if uuid is None else ManagedGpu(uuid)
    except LookupError:
        return None
