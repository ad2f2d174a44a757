"""Small problems, machines and records, to be changed where it matters."""

from __future__ import annotations

from typing import Any

from attnbench.core.conditions import Conditions
from attnbench.core.files import read
from attnbench.core.problem import Bias, Pattern, Problem
from attnbench.core.record import Cache, Ceilings, Environment, Record, Spent, Status


def problem(**fields: object) -> Problem:
    """A small problem; give what matters."""
    defaults = {"batch": 2, "height": 14, "width": 14, "window_height": 7, "window_width": 7, "heads": 2}
    return read(Problem, {**defaults, **fields})


def environment() -> Environment:
    return Environment(
        machine="test-machine",
        device="cpu",
        device_name="Test Machine",
        cpu_name="Test CPU",
        cores=2,
        memory_bytes=2**34,
        device_memory_bytes=None,
        cache_bytes=2**25,
        capability=None,
        driver=None,
        cuda=None,
        python="3.11.7",
        torch="2.13.0",
        packages={"torch": "2.13.0"},
        flags={},
        clocks={},
        threads=1,
        cache=Cache.HOT,
        commit=None,
        started_at="2026-01-02T03:04:05+00:00",
    )


def conditions(**fields: Any) -> Conditions:
    """A quiet machine of two cores; give what matters."""
    return Conditions(**{"wall_s": 1.0, "load_before": 1.0, "load_after": 1.0, "cores": 2, "threads": 1, **fields})


def record(backend: str = "naive", case: str = "stage 1", latency_ms: float = 2.0, **fields: object) -> Record:
    """An ok record of twenty near-equal samples; give what matters."""
    known: dict[str, object] = {
        "case": case,
        "backend": backend,
        "device": "cpu",
        "problem": problem(),
        "status": Status.OK,
        "samples_ms": tuple(latency_ms * (1 + step / 1000) for step in range(20)),
        "calls_per_loop": 5,
        "calls": 100,
        "mean_ms": 1.1 * latency_ms,
        "host_ms": None,
        "peak_bytes": 3 * 2**20,
        "max_error": 1.25e-6,
        "kernel": "bmm",
        "ceilings": Ceilings(bytes_per_s=2e10, flops_per_s=1e11),
        "conditions": conditions(),
        "spent": Spent(prepare_s=0.01, timed_s=0.5),
        **fields,
    }
    return Record(**known)  # type: ignore[arg-type]


def failed(backend: str, status: Status, reason: str, case: str = "stage 1", **fields: Any) -> Record:
    return record(
        backend, case, status=status, reason=reason, samples_ms=(), calls=0, mean_ms=None, host_ms=None,
        peak_bytes=None, max_error=None, kernel="", ceilings=None, conditions=None, **fields,
    )  # fmt: skip


def sample_records() -> list[Record]:
    """Two cases: everything a table must show."""
    shifted = problem(pattern="shifted")
    biased = problem(pattern="shifted", bias="relative", heads=3, mode="forward_backward", scope="layer")
    assert shifted.pattern is Pattern.SHIFTED
    assert biased.bias is Bias.RELATIVE
    math_kernel = "_scaled_dot_product_attention_math"
    flash_kernel = "_scaled_dot_product_flash_attention_for_cpu"
    no_kernels = "flash_attn has no kernels for cpu (allowed: cuda)"
    wrong = "output is off by 0.5 (allowed: 1e-06)"
    first = [
        record("naive", latency_ms=2.0, position=0),
        record("sdpa", latency_ms=1.0, kernel=flash_kernel, position=1, peak_bytes=2**20),
        record("sdpa_5d", latency_ms=4.0, kernel=math_kernel, position=2, conditions=conditions(steal_s=0.2)),
        failed("flash_attn", Status.UNAVAILABLE, no_kernels, position=3),
        record("swin", latency_ms=2.5, problem=shifted, position=4),
    ]
    name = "stage 1 shifted [layer]"
    second = [
        record("naive", name, latency_ms=20.0, problem=biased, position=5),
        record("sdpa", name, latency_ms=12.3456, problem=biased, kernel=math_kernel, position=6),
        failed("sdpa_5d", Status.WRONG_RESULT, wrong, name, problem=biased, position=7),
        failed("flash_attn", Status.UNAVAILABLE, no_kernels, name, problem=biased, position=8),
        record("swin", name, latency_ms=22.0, problem=biased, position=9, conditions=conditions(quota_s=0.1)),
    ]  # fmt: skip
    return first + second
