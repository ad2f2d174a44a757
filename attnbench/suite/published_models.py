"""Published models: what their windowed attention computes, stage by stage, at a given size of images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import ceil

from attnbench.core.errors import UsageError
from attnbench.core.problem import Bias, Pattern


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The windowed attention of one stage."""

    number: int
    resolution: tuple[int, int]
    """The map in tokens, height and width."""
    window: int
    heads: int
    patterns: tuple[Pattern, ...]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A published configuration. Every head has 32 channels, and every stage halves the map."""

    title: str
    source: str
    """Where it was published."""
    heads: tuple[int, ...]
    """By stage."""
    bias: Bias
    shifts: bool
    """Whether every other layer shifts its windows."""
    windows: tuple[tuple[int, int], ...]
    """Pixels from which a window is published, smallest first, and the window."""
    patch: int = 4

    def stages(
        self, pixels: tuple[int, int], *, patch: int | None = None, window: int | None = None
    ) -> tuple[Stage, ...]:
        """Its stages for images of a size. Maps that do not divide are rounded up, as padding does.

        Args:
            pixels: Height and width of the images.
            patch: Pixels along one side of a token; by default as published.
            window: Tokens along one side of a window; by default as published for these pixels.

        Raises:
            UsageError: The images are smaller than the last stage needs, or the window is larger than every map.
        """
        side = self.patch if patch is None else patch
        if min(pixels) < side * 2 ** (len(self.heads) - 1):
            raise UsageError(
                f"--pixels {pixels[0]}x{pixels[1]}: too small for {len(self.heads)} stages and patches of {side} "
                f"(allowed: {side * 2 ** (len(self.heads) - 1)} or more)"
            )
        chosen = window or [tokens for least, tokens in self.windows if min(pixels) >= least][-1]
        found = []
        height, width = (ceil(length / side) for length in pixels)
        for number, heads in enumerate(self.heads, start=1):
            inside = min(chosen, height, width)  # as published: a window is never larger than the map
            shifted = self.shifts and min(height, width) > chosen  # as published: else there is nothing to shift
            patterns = (Pattern.GROUPED, Pattern.SHIFTED) if shifted else (Pattern.GROUPED,)
            found.append(
                Stage(number=number, resolution=(height, width), window=inside, heads=heads, patterns=patterns)
            )
            height, width = ceil(height / 2), ceil(width / 2)
        return tuple(found)


_swin = partial(
    Model, source="Liu et al. 2021, arXiv 2103.14030", bias=Bias.RELATIVE, shifts=True, windows=((0, 7), (384, 12))
)
_twins = partial(Model, source="Chu et al. 2021, arXiv 2104.13840", bias=Bias.NONE, shifts=False, windows=((0, 7),))
MODELS = {
    "swin_t": _swin(title="Swin-T", heads=(3, 6, 12, 24)),
    "swin_s": _swin(title="Swin-S", heads=(3, 6, 12, 24)),
    "swin_b": _swin(title="Swin-B", heads=(4, 8, 16, 32)),
    "swin_l": _swin(title="Swin-L", heads=(6, 12, 24, 48)),
    "twins_svt_s": _twins(title="Twins-SVT-S", heads=(2, 4, 8, 16)),
    "twins_svt_b": _twins(title="Twins-SVT-B", heads=(3, 6, 12, 24)),
    "twins_svt_l": _twins(title="Twins-SVT-L", heads=(4, 8, 16, 32)),
}
"""By name."""
