"""Peak memory of calls whose size is known to the byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from attnbench.core.verification import Figure
from attnbench.worker.profile import profile_call

_LARGE, _SMALL = 2**23, 2**22
"""Multiples of what allocators round to."""
_EXACT = 1.001


def known_sizes(device: torch.device) -> Iterator[Figure]:
    """The measured peak over the true one: of the call that is off by most."""

    def output_beside_scratch(x: Tensor) -> Tensor:
        scratch = torch.zeros(_LARGE, dtype=torch.int8, device=x.device)
        output = torch.zeros(_SMALL, dtype=torch.int8, device=x.device)
        output[0] = scratch[0]
        return output

    def output_after_scratch(x: Tensor) -> Tensor:
        scratch = torch.zeros(_LARGE, dtype=torch.int8, device=x.device)
        del scratch
        return torch.zeros(_SMALL, dtype=torch.int8, device=x.device)

    known: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
        "an output beside what it was made from": (output_beside_scratch, _LARGE + _SMALL),
        "an output after what was freed": (output_after_scratch, _LARGE),
        "an output alone": (lambda x: torch.zeros(_SMALL, dtype=torch.int8, device=x.device), _SMALL),
    }
    ratios = {}
    for name, (call, true_bytes) in known.items():
        with torch.inference_mode():
            ratios[name] = profile_call(call, torch.zeros(1, device=device)).peak_bytes / true_bytes
    worst = max(ratios, key=lambda name: abs(ratios[name] - 1))
    broken = "; ".join(f"{name} measures as {ratio:.3f}" for name, ratio in ratios.items() if not 1 <= ratio <= _EXACT)
    yield Figure(
        check="memory",
        of=f"{len(ratios)} calls of known size",
        value=ratios[worst],
        least=1.0,
        most=_EXACT,
        broken=broken,
    )
