"""A worker without torch that answers at once and as a worker does: for tests that start hundreds of them.

``python -c START_WITH`` is ``attnbench`` with this worker instead of the real one. Where the directory on its Python
path holds ``stand_in.json``, that says what it pretends:

* ``scatter``: relative standard deviation between processes, drawn anew for every directory, case, backend and block.
* ``slower``, ``peak_bytes``, ``kernel``, ``pattern``: by case or backend, what differs there.
* ``fails``: by case or backend, the blocks in which it fails; ``status``: how.
* ``lacks``: backends that lead nowhere.
* ``environment``: fields of the machine.
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from attnbench.execution.messages import (
    BackendAnswer,
    Describe,
    Described,
    Entered,
    Finished,
    MeasureCase,
    Message,
    Ready,
    Stage,
    decode,
    encode,
)
from attnbench.problem import Pattern
from attnbench.record import Ceilings, Record, Status
from tests.samples import environment

BOOT = "import sys; from tests.worker_stand_in import main; main(int(sys.argv[2]), int(sys.argv[3]))"
START_WITH = (
    f"import attnbench.execution.process as process; process._BOOT = {BOOT!r}; from attnbench.cli import main; main()"
)
_CALL_S = 0.01


def main(inbox: int, outbox: int) -> None:
    def send(message: Message) -> None:
        os.write(outbox, encode(message))

    pretended = _pretended()
    send(Ready())
    with os.fdopen(inbox, "rb") as lines:
        for line in lines:
            match decode(line):
                case Describe(backends=names):
                    answers = tuple(
                        BackendAnswer(
                            name=name, invalid=f"{name} leads nowhere" if name in pretended["lacks"] else None
                        )
                        for name in names
                    )
                    machine = replace(environment(), **pretended["environment"])
                    send(Described(environment=machine, backends=answers, device_id="cpu"))
                case MeasureCase() as asked:
                    _note(asked)
                    for backend, position in zip(asked.backends, asked.positions, strict=True):
                        send(Entered(backend=backend, stage=Stage.SAMPLE))
                        time.sleep(_CALL_S)
                        send(Finished(record=_record(asked, backend, position, pretended)))


def _pretended() -> dict[str, Any]:
    nothing: dict[str, Any] = {
        name: {} for name in ("slower", "peak_bytes", "kernel", "pattern", "fails", "environment")
    }
    file = Path(sys.argv[4] or ".") / "stand_in.json"
    given = json.loads(file.read_text()) if file.is_file() else {}
    return {**nothing, "lacks": [], "scatter": 0.0, "status": "crashed", **given}


def _note(asked: MeasureCase) -> None:
    """Where the directory that the run was started in has a file ``turns``, whose turn it is."""
    if Path("turns").is_file():
        with Path("turns").open("a") as turns:
            turns.write(f"{Path(sys.argv[4]).name} {asked.block} {asked.case.name}\n")


def _record(asked: MeasureCase, backend: str, position: int, pretended: dict[str, Any]) -> Record:
    def of(name: str, otherwise: Any) -> Any:
        known = pretended[name]
        return known.get(asked.case.name, known.get(backend, otherwise))

    drawn = random.Random(f"{sys.argv[4]} {asked.case.name} {backend} {asked.block}")
    latency_ms = (1.0 + position) * math.exp(drawn.gauss(0, pretended["scatter"])) * of("slower", 1.0)
    fails = asked.block in of("fails", [])
    return Record(
        case=asked.case.name,
        backend=backend,
        device=asked.case.device,
        problem=replace(asked.case.problem, pattern=Pattern(of("pattern", asked.case.problem.pattern))),
        status=Status(pretended["status"]) if fails else Status.OK,
        reason="the stand-in was told to" if fails else "",
        position=position,
        block=asked.block,
        samples_ms=() if fails else (latency_ms,) * 20,
        calls_per_sample=10,
        peak_bytes=of("peak_bytes", 2**24),
        kernel=of("kernel", "_scaled_dot_product_flash_attention_for_cpu"),
        ceilings=Ceilings(bytes_per_s=1e10, flops_per_s=1e11),
    )
