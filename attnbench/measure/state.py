"""torch's global state: what one backend sets must not decide how the next one runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class TorchState:
    """The switches that change what is computed, or how fast."""

    threads: int
    default_dtype: torch.dtype
    matmul_precision: str
    flash: bool
    efficient: bool
    cudnn: bool
    math: bool
    cudnn_benchmark: bool
    deterministic: bool

    @classmethod
    def now(cls) -> TorchState:
        """The state as it is."""
        cuda = torch.backends.cuda
        return cls(
            threads=torch.get_num_threads(),
            default_dtype=torch.get_default_dtype(),
            matmul_precision=torch.get_float32_matmul_precision(),
            flash=cuda.flash_sdp_enabled(),
            efficient=cuda.mem_efficient_sdp_enabled(),
            cudnn=cuda.cudnn_sdp_enabled(),
            math=cuda.math_sdp_enabled(),
            cudnn_benchmark=torch.backends.cudnn.benchmark,
            deterministic=torch.are_deterministic_algorithms_enabled(),
        )

    def restore(self) -> None:
        """Make it so again; nothing is touched where nothing changed."""
        if self == TorchState.now():
            return
        cuda = torch.backends.cuda
        torch.set_num_threads(self.threads)
        torch.set_default_dtype(self.default_dtype)
        torch.set_float32_matmul_precision(self.matmul_precision)
        cuda.enable_flash_sdp(self.flash)
        cuda.enable_mem_efficient_sdp(self.efficient)
        cuda.enable_cudnn_sdp(self.cudnn)
        cuda.enable_math_sdp(self.math)
        torch.backends.cudnn.benchmark = self.cudnn_benchmark
        torch.use_deterministic_algorithms(self.deterministic)
