"""The backends that come with attnbench: a line each. Nothing is imported before one is asked for."""

from __future__ import annotations

CPU, FUSED = "cpu", "fused"

SHIPPED: dict[str, tuple[str, set[str]]] = {
    "naive": ("attnbench.backends.naive:Naive", {CPU}),
    "sdpa": ("attnbench.backends.sdpa:Sdpa", {CPU}),
    "sdpa_math": ("attnbench.backends.sdpa:SdpaMath", {CPU}),
    "sdpa_flash": ("attnbench.backends.sdpa:SdpaFlash", {CPU, FUSED}),
    "sdpa_efficient": ("attnbench.backends.sdpa:SdpaEfficient", {FUSED}),
    "sdpa_cudnn": ("attnbench.backends.sdpa:SdpaCudnn", {FUSED}),
    "sdpa_5d": ("attnbench.backends.sdpa:Sdpa5d", {CPU}),
    "xformers": ("attnbench.backends.xformers:Xformers", {FUSED}),
    "flash_attn": ("attnbench.backends.flash_attn:FlashAttn", {FUSED}),
    "swin": ("attnbench.backends.swin:Swin", {CPU}),
}
"""Class and groups by name. No entry points: an environment that is borrowed need not have attnbench installed."""
GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(SHIPPED),
    **{group: tuple(name for name, (_, groups) in SHIPPED.items() if group in groups) for group in (CPU, FUSED)},
}
"""Names for several of them in suites: every one, those that run on a CPU, those that are one kernel."""
