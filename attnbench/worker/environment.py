"""The machine, its device and what is installed: everything a reader of the numbers may ask for."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

import torch

from attnbench.core.errors import AttnbenchError, UsageError
from attnbench.core.git import commit_of
from attnbench.core.protocol import Describe, Described, Refused
from attnbench.core.record import Environment, Launch, Measure
from attnbench.worker.monitor import cpu_mhz
from attnbench.worker.nvml import ManagedGpu, managed_gpu

_CPU_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def answer_describe(asked: Describe) -> Described | Refused:
    """Say what the machine and this environment are."""
    torch.set_num_threads(asked.measure.threads)
    try:
        device = resolve_device(asked.device)
    except AttnbenchError as error:
        return Refused(message=str(error))
    if asked.measure.launch is Launch.GRAPH and device.type != "cuda":
        message = f"measure.launch graph: there are no CUDA graphs on {device} (allowed: eager)"
        return Refused(message=message, key=("measure", "launch"))
    make_current(device)
    gpu = managed_gpu(gpu_uuid(device))
    return Described(
        environment=describe(device, asked.measure),
        device_id=gpu_uuid(device) or str(device),
        gpu=gpu.settings() if gpu else None,
        torch_is_debug_build=torch.version.debug,
    )


def resolve_device(wanted: str) -> torch.device:
    """The device a suite means: ``auto`` is the first GPU where there is one, else the CPU.

    Raises:
        UsageError: A GPU is asked for that is not there.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", wanted):
        raise UsageError(f"device {wanted}: not a device (allowed: auto, cpu, cuda, cuda:1)")
    available = torch.cuda.is_available()
    if wanted == "cpu" or (wanted == "auto" and not available):
        return torch.device("cpu")
    if not available:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise UsageError(f"device {wanted}: torch {torch.__version__} ({built}) sees no GPU; use cpu or auto")
    index = int(wanted.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise UsageError(f"device {wanted}: this machine has {torch.cuda.device_count()} GPU(s), counted from 0")
    return torch.device("cuda", index)


def make_current(device: torch.device) -> None:
    """Libraries ask and launch on the current device, whatever device their inputs lie on."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def describe(device: torch.device, measure: Measure) -> Environment:
    """Describe this machine as it is now."""
    cpu_name = _cpu_name()
    gpu = managed_gpu(gpu_uuid(device))
    cores = len(os.sched_getaffinity(0))
    device_name, device_memory, capability = cpu_name, None, None
    machine = f"{cpu_name}-{cores}-cores"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        device_name = machine = properties.name
        device_memory = properties.total_memory
        capability = f"{properties.major}.{properties.minor}"
    return Environment(
        machine=_slug(machine),
        device=str(device),
        device_name=device_name,
        cpu_name=cpu_name,
        cores=cores,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        device_memory_bytes=device_memory,
        cache_bytes=cache_bytes_of(device),
        capability=capability,
        driver=_driver(gpu, device),
        cuda=torch.version.cuda,
        python=platform.python_version(),
        torch=torch.__version__,
        packages={dist.name: dist.version for dist in distributions() if dist.name},
        flags=_flags(),
        clocks=_clocks(gpu),
        threads=torch.get_num_threads(),
        cache=measure.cache_on(device.type),
        launch=measure.launch,
        allocator=measure.allocator,
        commit=commit_of(Path()),
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def cache_bytes_of(device: torch.device) -> int:
    """The last-level cache: a GPU's L2, or the largest of the CPU's."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).L2_cache_size)
    return _cpu_cache_bytes()


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            name = line.partition(":")[2]
            return " ".join(re.sub(r"\((R|TM)\)|\bCPU\b|@.*", "", name).split())
    return platform.processor() or platform.machine()


def _cpu_cache_bytes() -> int:
    """The largest cache of the first core; 32 MiB where the machine does not tell."""
    sizes = []
    for path in _CPU_CACHES.glob("index*/size"):
        text = path.read_text(encoding="utf-8").strip()
        unit = {"K": 2**10, "M": 2**20}.get(text[-1:], 1)
        sizes.append(int(text.rstrip("KM")) * unit)
    return max(sizes, default=2**25)


def gpu_uuid(device: torch.device) -> str | None:
    """What tells a GPU from every other; None for the CPU."""
    return str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else None


def _driver(gpu: ManagedGpu | None, device: torch.device) -> str | None:
    if gpu is not None:
        return gpu.driver()
    if device.type != "cuda":
        return None
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        return None
    version = re.search(r"\b(\d{3,}\.\d+(\.\d+)?)\b", text)
    return version[1] if version else None


def _clocks(gpu: ManagedGpu | None) -> dict[str, float]:
    clocks = {"cpu_mhz": cpu_mhz()}
    if gpu is not None:
        settings = gpu.settings()
        clocks |= {
            "sm_mhz": settings.now.sm_mhz,
            "memory_mhz": settings.now.memory_mhz,
            "max_sm_mhz": settings.max_sm_mhz,
        }
    return {name: value for name, value in clocks.items() if value is not None}


def _float32_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # somebody used torch's newer switch, of which the older one knows nothing
        return str(torch.backends.cuda.matmul.fp32_precision)


def _flags() -> dict[str, str]:
    cuda = torch.backends.cuda
    return {
        "float32_matmul_precision": _float32_precision(),
        "fp16_accumulation": str(cuda.matmul.allow_fp16_accumulation),
        "fp16_reduced_precision_reduction": str(cuda.matmul.allow_fp16_reduced_precision_reduction),
        "bf16_reduced_precision_reduction": str(cuda.matmul.allow_bf16_reduced_precision_reduction),
        "flash_sdp_enabled": str(cuda.flash_sdp_enabled()),
        "mem_efficient_sdp_enabled": str(cuda.mem_efficient_sdp_enabled()),
        "cudnn_sdp_enabled": str(cuda.cudnn_sdp_enabled()),
        "math_sdp_enabled": str(cuda.math_sdp_enabled()),
        "fp16_bf16_reduction_math_sdp_allowed": str(cuda.fp16_bf16_reduction_math_sdp_allowed()),
        "cudnn_benchmark": str(torch.backends.cudnn.benchmark),
        "deterministic_algorithms": str(torch.are_deterministic_algorithms_enabled()),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
