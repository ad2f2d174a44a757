"""Suites to start from, with comments: an empty one, or the stages of a published model."""

from __future__ import annotations

from attnbench.core.escaping import one_line
from attnbench.core.problem import Bias
from attnbench.suite.published_models import Model, Stage

_EMPTY = """\
# A suite: what to measure. Check it with: attnbench run {file} --dry-run
name: {name}
description: Which implementation is fastest for our model?   # the question it answers
device: auto                                       # auto, cpu, cuda, cuda:1
baseline: naive                                    # the backend that speed-ups refer to
backends: all                                      # all, cpu, fused, names, or 'my_kernels:Mine' (a class of yours)

# Every case of your model. resolution and window are tokens, not pixels: pixels / patch.
cases:
  - name: stage 1
    batch: {{cpu: 1, cuda: 64}}                      # images; one number, or by device
    resolution: 56                                 # the map: 56, or height x width as 200x334
    window: 7                                      # k1 x k2: 7, or 7x14
    heads: 2
    head_dim: 32                                   # channels of a head
    dtype: float32                                 # float32, float16, bfloat16; a list measures each
    mode: [forward, forward_backward]              # inference, training
    pattern: grouped                               # grouped, or shifted as in Swin
    padding: zero                                  # zero, or masked: where windows do not divide the map
    bias: none                                     # none, or relative: a learned relative position bias
    scope: map                                     # map, windows (attention alone), layer (with the projections)

# Besides cases, or instead of them: all combinations of these values.
# sweep:
#   resolution: [28, 56, 112]
#   window: [7, 14]
#   heads: 4
# exclude:
#   - {{resolution: 28, window: 14}}

measure:
  processes: 3                                     # fresh processes; more make intervals narrower
  max_time_s: 0.5                                  # seconds of samples for a cell in a process
  threads: 1                                       # CPU threads
"""
_OF_MODEL = """\
# The windowed attention of {title} at {pixels} pixels, stage by stage ({source}).
# Patches of {patch} pixels, so the maps are {maps} tokens; windows of {windows}.{remark}
# Check it with: attnbench run {file} --dry-run
name: {name}
description: Which implementation of window attention is fastest in each stage of {title} at {pixels} pixels?
device: auto                                       # auto, cpu, cuda, cuda:1
baseline: naive                                    # the backend that speed-ups refer to
backends: all                                      # all, cpu, fused, names, or 'my_kernels:Mine' (a class of yours)
cases:
{cases}
measure:
  processes: 3                                     # fresh processes; more make intervals narrower
  max_time_s: 0.5                                  # seconds of samples for a cell in a process
"""


def empty(*, name: str, file: str) -> str:
    """A suite of one case with every field explained."""
    return _EMPTY.format(name=name, file=one_line(file))


def of_model(
    model: Model,
    *,
    name: str,
    file: str,
    pixels: tuple[int, int],
    patch: int | None = None,
    window: int | None = None,
) -> str:
    """The stages of a model as a suite.

    Args:
        model: The model.
        name: What the suite is called.
        file: Where it is written, for its comments.
        pixels: Height and width of the images.
        patch: Pixels along one side of a token; by default as published.
        window: Tokens along one side of a window; by default as published.

    Raises:
        UsageError: The model has no such size.
    """
    stages = model.stages(pixels, patch=patch, window=window)
    padded = [f"stage {stage.number}" for stage in stages if any(side % stage.window for side in stage.resolution)]
    windows = list(dict.fromkeys(str(stage.window) for stage in stages))
    return _OF_MODEL.format(
        title=model.title,
        pixels=_size(pixels),
        source=model.source,
        patch=patch or model.patch,
        maps=", ".join(_size(stage.resolution) for stage in stages),
        windows=" and ".join(windows),
        remark=f"\n# Windows do not divide the map in {', '.join(padded)}: those maps are padded." if padded else "",
        file=one_line(file),
        name=name,
        cases="\n".join(_case(stage, model.bias) for stage in stages),
    )


def _case(stage: Stage, bias: Bias) -> str:
    fields = [
        f"name: stage {stage.number}",
        "batch: {cpu: 1, cuda: 64}",
        f"resolution: {_size(stage.resolution)}",
        f"window: {stage.window}",
        f"heads: {stage.heads}",
        *([f"bias: {bias}"] if bias is not Bias.NONE else []),
        *([f"pattern: [{', '.join(stage.patterns)}]"] if len(stage.patterns) > 1 else []),
        "mode: [forward, forward_backward]",
    ]
    return f"  - {{{', '.join(fields)}}}"


def _size(sides: tuple[int, int]) -> str:
    return str(sides[0]) if sides[0] == sides[1] else f"{sides[0]}x{sides[1]}"
