"""Checks of the harness that need torch, in a process of their own: each figure is a line of JSON on stdout."""

from __future__ import annotations

import gc
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict

import torch

from attnbench.core.verification import Answer, Figure
from attnbench.worker.environment import make_current
from attnbench.worker.failure import describe_error
from attnbench.worker.verification import clocks, definition, memory, rates

Check = Callable[[torch.device], Iterator[Figure]]
CHECKS: dict[str, Check] = {
    "reference": definition.token_by_token,
    "published": definition.published_modules,
    "memory": memory.known_sizes,
    "agreement": clocks.agreement,
    "cold": clocks.cold_beside_hot,
    "copy": rates.copy_another_way,
    "product": rates.product_another_way,
}
"""By name, what is checked in this process."""


def main(device: str, names: list[str]) -> None:
    """Check, and print what is found.

    Args:
        device: As torch spells it.
        names: Of checks.
    """
    torch.set_num_threads(1)
    gc.disable()
    there = torch.device(device)
    make_current(there)
    for name in names:
        for figure in checked(CHECKS[name], name, there):
            line = asdict(figure)
            line["most"] = None if math.isinf(figure.most) else figure.most
            sys.stdout.write(f"{json.dumps(line)}\n")
            sys.stdout.flush()


def checked(check: Check, name: str, device: torch.device) -> list[Figure]:
    """The figures of a check; one that fails is made once more, for a busy machine can spoil it.

    What is wrong with the harness is wrong again.
    """
    found = _figures(check, name, device)
    if all(figure.answer is not Answer.FAIL for figure in found):
        return found
    again = _figures(check, name, device)
    passed = {figure.of for figure in found if figure.answer is Answer.PASS}
    return [one if one.of in passed else other for one, other in zip(found, again, strict=False)] or again


def _figures(check: Check, name: str, device: torch.device) -> list[Figure]:
    found: list[Figure] = []
    try:
        found += check(device)
    except Exception as error:
        found.append(Figure(check=name, broken=describe_error(error)))
    return found
