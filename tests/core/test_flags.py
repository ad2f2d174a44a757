"""Flags say what a reader must know, and nothing on a quiet machine."""

from __future__ import annotations

from typing import Any

import pytest

from attnbench.core.conditions import Glance
from attnbench.core.flags import is_unstable, process_flags
from attnbench.core.record import Flag
from attnbench.core.stats import estimate
from attnbench.results.table import table
from tests.samples import conditions, record


def test_a_quiet_machine_sets_no_flag() -> None:
    assert process_flags(record()) == set()
    assert process_flags(record(conditions=None)) == set()


CAPPED = (Glance(throttle_reasons=("sw_power_cap",)),)
SHARED = (Glance(), Glance(foreign_processes=1))


@pytest.mark.parametrize(
    ("fields", "flag"),
    [
        ({"samples_ms": (2.0,) * 9}, Flag.FEW_SAMPLES),
        ({"device": "cuda:0", "samples_ms": (2.0,) * 19}, Flag.FEW_SAMPLES),
        ({"calls": 40}, Flag.FEW_SAMPLES),
        ({"device": "cuda:0", "host_ms": 3.0}, Flag.LAUNCH_BOUND),
        ({"conditions": conditions(quota_s=0.01)}, Flag.THROTTLED),
        ({"device": "cuda:0", "conditions": conditions(glances=CAPPED)}, Flag.THROTTLED),
        ({"conditions": conditions(steal_s=0.12)}, Flag.CONTENDED),
        ({"conditions": conditions(others_s=1.06)}, Flag.CONTENDED),
        ({"conditions": conditions(others_s=0.12, threads=2)}, Flag.CONTENDED),
        ({"conditions": conditions(involuntary_switches=11)}, Flag.CONTENDED),
        ({"device": "cuda:0", "conditions": conditions(glances=SHARED)}, Flag.CONTENDED),
        ({"conditions": conditions(page_faults=81)}, Flag.PAGE_FAULTS),
        ({"conditions": conditions(retaken_turns=1)}, Flag.INTERRUPTED),
        ({"device": "cuda:0", "conditions": conditions(retaken_turns=1)}, Flag.INTERRUPTED),
    ],
)  # fmt: skip
def test_each_condition_sets_its_flag(fields: dict[str, Any], flag: Flag) -> None:
    assert process_flags(record(**fields)) == {flag}


@pytest.mark.parametrize(
    "fields",
    [
        {"samples_ms": (2.0,) * 10},
        {"conditions": conditions(others_s=0.9)},  # on the core that we leave idle
        {"conditions": conditions(steal_s=0.08)},  # of two cores, one of which is ours
        {"conditions": conditions(steal_s=0.4, cores=64)},
        {"conditions": conditions(own_s=1.4)},  # a run ends the cell that takes more than it claims
        {"conditions": conditions(page_faults=79)},  # half a microsecond each, in calls of 2 ms
        {"device": "cuda:0", "conditions": conditions(page_faults=1000)},
        {"device": "cuda:0", "host_ms": 1.0},
        {"device": "cuda:0", "conditions": conditions(glances=(Glance(throttle_reasons=("gpu_idle",)),))},
        {"device": "cuda:0", "conditions": conditions(steal_s=0.5, glances=(Glance(foreign_processes=0),))},
    ],
)
def test_what_does_no_harm_sets_no_flag(fields: dict[str, Any]) -> None:
    assert process_flags(record(**fields)) == set()


def test_a_cell_is_unstable_where_its_interval_is_wide_or_its_only_block_is_scattered() -> None:
    assert is_unstable(estimate([1.0, 1.2, 1.1]), quartiles=(1.0, 1.0))
    assert not is_unstable(estimate([1.0, 1.01, 1.02]), quartiles=(1.0, 2.0))
    assert is_unstable(estimate([1.0]), quartiles=(1.0, 1.2))
    assert not is_unstable(estimate([1.0]), quartiles=(1.0, 1.05))


def test_a_row_has_the_flags_of_all_its_blocks_and_still_its_latency() -> None:
    processes = [
        record(round=0, latency_ms=2.0, conditions=conditions(steal_s=1.0)),
        record(round=1, latency_ms=3.0, conditions=conditions(quota_s=1.0)),
    ]
    (row,) = table(processes, suite="s").to_dict("records")
    assert row["flags"] == "unstable throttled contended"
    assert row["latency_ms"] > 2.0
