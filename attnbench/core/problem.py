"""One computation of locally-grouped self-attention (LSA) as data, and its geometry.

LSA is due to Chu et al. 2021 (Twins, arXiv 2104.13840, section 3.2); the shifted pattern is due to Liu et al. 2021
(Swin, arXiv 2103.14030, section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, assert_never

from attnbench.core.errors import ProblemError

DEFAULT_HEAD_DIM = 32
"""Both published models use 32 everywhere."""


class Dtype(StrEnum):
    """Element type of inputs, weights and output."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"

    @property
    def bytes(self) -> int:
        """Bytes of one element."""
        return 4 if self is Dtype.FLOAT32 else 2


class Mode(StrEnum):
    """Whether the gradients belong to the call."""

    FORWARD = "forward"
    FORWARD_BACKWARD = "forward_backward"


class Pattern(StrEnum):
    """Which windows a map is divided into."""

    GROUPED = "grouped"
    SHIFTED = "shifted"


class Padding(StrEnum):
    """What becomes of the tokens added where windows do not divide the map."""

    ZERO = "zero"
    MASKED = "masked"


class Bias(StrEnum):
    """What is added to the scores."""

    NONE = "none"
    RELATIVE = "relative"


class Scope(StrEnum):
    """What is inside the timed call."""

    MAP = "map"
    WINDOWS = "windows"
    LAYER = "layer"


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One side of the map, padded to whole windows and rolled by the shift."""

    size: int
    """Tokens of the map along this side."""
    window: int
    """Tokens of a window along this side."""
    shift: int
    """Tokens the map is rolled by towards its start; 0 where one window covers the side."""

    @property
    def windows(self) -> int:
        """Windows along this side."""
        return -(-self.size // self.window)

    @property
    def padded(self) -> int:
        """Tokens along this side after padding."""
        return self.windows * self.window

    @property
    def padding(self) -> int:
        """Tokens added at the end of this side."""
        return self.padded - self.size

    def regions(self) -> list[int]:
        """Region of every position of the padded, rolled side: tokens of one window see each other only inside one.

        0 for a token that the roll did not carry round the edge, 1 for one that it did (Liu et al. 2021, figure 4).
        """
        return [int(position >= self.padded - self.shift) for position in range(self.padded)]

    def real(self) -> list[bool]:
        """For every position of the padded, rolled side, whether its token is one of the map's own."""
        return [(position + self.shift) % self.padded < self.size for position in range(self.padded)]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One LSA computation. The field names and values are those of a suite (sizes given as two numbers)."""

    batch: int
    """Images."""
    height: int
    """Tokens of the map, top to bottom."""
    width: int
    """Tokens of the map, left to right."""
    window_height: int
    """Tokens of a window, top to bottom (k1)."""
    window_width: int
    """Tokens of a window, left to right (k2)."""
    heads: int
    head_dim: int = DEFAULT_HEAD_DIM
    dtype: Dtype = Dtype.FLOAT32
    mode: Mode = Mode.FORWARD
    pattern: Pattern = Pattern.GROUPED
    padding: Padding = Padding.ZERO
    bias: Bias = Bias.NONE
    scope: Scope = Scope.MAP

    def __post_init__(self) -> None:
        for field, size in (
            ("batch", self.batch),
            ("resolution", min(self.height, self.width)),
            ("window", min(self.window_height, self.window_width)),
            ("heads", self.heads),
            ("head_dim", self.head_dim),
        ):
            if size < 1:
                raise ProblemError(field, f"{size} is not a size (allowed: 1 or more)")
        if self.window_height > self.height or self.window_width > self.width:
            raise ProblemError(
                "window",
                f"{self.window_height}x{self.window_width} is larger than the map "
                f"{self.height}x{self.width} (allowed: up to the map, side by side)",
            )

    @property
    def channels(self) -> int:
        """Channels of the map, over all heads."""
        return self.heads * self.head_dim

    @property
    def rows(self) -> Axis:
        """The side from top to bottom."""
        return self._axis(self.height, self.window_height)

    @property
    def columns(self) -> Axis:
        """The side from left to right."""
        return self._axis(self.width, self.window_width)

    def _axis(self, size: int, window: int) -> Axis:
        match self.pattern:
            case Pattern.GROUPED:
                shift = 0
            case Pattern.SHIFTED:
                # As in Swin's code, a side that one window covers is not shifted: every token sees every other already.
                shift = window // 2 if window < size else 0
            case _:
                assert_never(self.pattern)
        return Axis(size=size, window=window, shift=shift)

    @property
    def windows(self) -> int:
        """Windows of one image, after padding."""
        return self.rows.windows * self.columns.windows

    @property
    def tokens(self) -> int:
        """Tokens of one window."""
        return self.window_height * self.window_width

    @property
    def padded(self) -> bool:
        """Whether the windows do not divide the map."""
        return bool(self.rows.padding or self.columns.padding)

    @property
    def shifted(self) -> bool:
        """Whether the map is rolled at all."""
        return bool(self.rows.shift or self.columns.shift)

    @property
    def masked(self) -> bool:
        """Whether some token must not see some other token of its window."""
        return self.shifted or (self.padded and self.hides_padding)

    @property
    def hides_padding(self) -> bool:
        """Whether padded tokens take no part in the softmax."""
        match self.padding:
            case Padding.ZERO:
                return False
            case Padding.MASKED:
                return True
        assert_never(self.padding)

    @property
    def has_bias(self) -> bool:
        """Whether a learned table is added to the scores."""
        match self.bias:
            case Bias.NONE:
                return False
            case Bias.RELATIVE:
                return True
        assert_never(self.bias)

    @property
    def bias_entries(self) -> int:
        """Rows of the relative position bias table (Liu et al. 2021, section 3.2)."""
        return (2 * self.window_height - 1) * (2 * self.window_width - 1)

    @property
    def resolution(self) -> str:
        """The map as a suite spells it: ``56x56``."""
        return f"{self.height}x{self.width}"

    @property
    def window(self) -> str:
        """The window as a suite spells it: ``7x7``."""
        return f"{self.window_height}x{self.window_width}"

    @property
    def label(self) -> str:
        """A name made of everything that is not at its default."""
        parts = [
            f"b{self.batch}",
            self.resolution,
            f"w{self.window_height}" if self.window_height == self.window_width else f"w{self.window}",
            f"h{self.heads}",
        ]
        if self.head_dim != DEFAULT_HEAD_DIM:
            parts.append(f"d{self.head_dim}")
        parts.append(self.dtype)
        usual = (Mode.FORWARD, Pattern.GROUPED, Padding.ZERO, Scope.MAP)
        chosen = (self.mode, self.pattern, self.padding, self.scope)
        parts.extend(value for value, default in zip(chosen, usual, strict=True) if value is not default)
        if self.bias is not Bias.NONE:
            parts.append(f"bias-{self.bias}")
        return " ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return dict(vars(self))  # asdict copies every value, and takes ten times as long
