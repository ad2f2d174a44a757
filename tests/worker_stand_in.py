"""A worker without torch that answers at once and as a worker does: for tests that start hundreds of them.

``python -c START_WITH`` is ``attnbench`` with this worker instead of the real one.
"""

from __future__ import annotations

import os
import time

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

    send(Ready())
    with os.fdopen(inbox, "rb") as lines:
        for line in lines:
            match decode(line):
                case Describe(backends=names):
                    answers = tuple(BackendAnswer(name=name) for name in names)
                    send(Described(environment=environment(), backends=answers, device_id="cpu"))
                case MeasureCase() as asked:
                    for backend, position in zip(asked.backends, asked.positions, strict=True):
                        send(Entered(backend=backend, stage=Stage.SAMPLE))
                        time.sleep(_CALL_S)
                        send(Finished(record=_record(asked, backend, position)))


def _record(asked: MeasureCase, backend: str, position: int) -> Record:
    return Record(
        case=asked.case.name,
        backend=backend,
        device=asked.case.device,
        problem=asked.case.problem,
        status=Status.OK,
        position=position,
        block=asked.block,
        samples_ms=(1.0 + position,) * 20,
        calls_per_sample=10,
        ceilings=Ceilings(bytes_per_s=1e10, flops_per_s=1e11),
    )
