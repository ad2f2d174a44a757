"""The machine, its device and what is installed: everything a reader of the numbers may ask for."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

import torch

from attnbench.errors import UsageError
from attnbench.record import Environment, Measure

_CPU_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


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
    cores = len(os.sched_getaffinity(0))
    device_name, device_memory, capability, cache_bytes = cpu_name, None, None, _cpu_cache_bytes()
    machine = f"{cpu_name}-{cores}-cores"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        device_name = machine = properties.name
        device_memory = properties.total_memory
        capability = f"{properties.major}.{properties.minor}"
        cache_bytes = properties.L2_cache_size
    return Environment(
        machine=_slug(machine),
        device=str(device),
        device_name=device_name,
        cpu_name=cpu_name,
        cores=cores,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        device_memory_bytes=device_memory,
        cache_bytes=cache_bytes,
        capability=capability,
        driver=_driver(device),
        cuda=torch.version.cuda,
        python=platform.python_version(),
        torch=torch.__version__,
        packages={dist.name: dist.version for dist in distributions() if dist.name},
        flags=_flags(),
        clocks=_clocks(device),
        threads=torch.get_num_threads(),
        cache=measure.cache_on(device.type),
        commit=_commit(),
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


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


def _driver(device: torch.device) -> str | None:
    if device.type != "cuda":
        return None
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        found = _nvidia_smi(device, "driver_version")
        return found[0] if found else None
    version = re.search(r"\b(\d{3,}\.\d+(\.\d+)?)\b", text)
    return version[1] if version else None


def _nvidia_smi(device: torch.device, *fields: str) -> list[str]:
    """What the driver's tool says of the device; empty where there is no such tool."""
    selected = torch.cuda.get_device_properties(device).uuid
    answer = _output(
        "nvidia-smi", f"--id=GPU-{selected}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"
    )
    return [value.strip() for value in answer.split(",")] if answer else []


def _clocks(device: torch.device) -> dict[str, float]:
    clocks: dict[str, float] = {}
    if device.type == "cuda":
        names = ("clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem")
        for name, value in zip(names, _nvidia_smi(device, *names), strict=False):
            if value.replace(".", "").isdigit():
                clocks[f"{name.removeprefix('clocks.').replace('.', '_')}_mhz"] = float(value)
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("cpu MHz"):
                clocks["cpu_mhz"] = float(line.partition(":")[2])
                break
    except OSError:
        pass
    return clocks


def _flags() -> dict[str, str]:
    cuda = torch.backends.cuda
    return {
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "flash_sdp_enabled": str(cuda.flash_sdp_enabled()),
        "mem_efficient_sdp_enabled": str(cuda.mem_efficient_sdp_enabled()),
        "cudnn_sdp_enabled": str(cuda.cudnn_sdp_enabled()),
        "math_sdp_enabled": str(cuda.math_sdp_enabled()),
        "fp16_bf16_reduction_math_sdp_allowed": str(cuda.fp16_bf16_reduction_math_sdp_allowed()),
        "cudnn_benchmark": str(torch.backends.cudnn.benchmark),
        "deterministic_algorithms": str(torch.are_deterministic_algorithms_enabled()),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _commit() -> str | None:
    commit = _output("git", "rev-parse", "--short=12", "HEAD")
    if commit is None:
        return None
    return f"{commit}+" if _output("git", "status", "--porcelain", "--untracked-files=no") else commit


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
