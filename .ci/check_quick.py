"""What the table of the newest run of ``quick`` must hold."""

from __future__ import annotations

from pathlib import Path

import attnbench

DIRECTORY = max(Path("results/quick").glob("*/*"), key=lambda path: path.stat().st_mtime)
TABLE = attnbench.load(DIRECTORY)
BACKENDS = set(
    "naive sdpa sdpa_math sdpa_flash sdpa_efficient sdpa_cudnn sdpa_5d xformers flash_attn swin".split()  # noqa: SIM905
)

assert set(TABLE["backend"]) == BACKENDS, "every backend of the card is a row"
assert len(TABLE) == len(BACKENDS) * TABLE["case"].nunique(), "no cell is missing"
assert set(TABLE["status"]) <= {"ok", "unavailable", "unsupported"}, TABLE[["case", "backend", "status", "reason"]]
measured = TABLE[TABLE["status"] == "ok"]
assert {"naive", "sdpa", "sdpa_math", "sdpa_5d", "swin"} <= set(measured["backend"]), "these run anywhere"
for column in ("latency_ms", "images_per_s", "tflops", "gbytes_per_s", "peak_bytes", "max_error", "kernel"):
    assert measured[column].notna().all(), column
    assert not any(value for value in TABLE.loc[TABLE["status"] != "ok", column].dropna()), column
assert (measured["latency_ms"] > 0).all()
assert (TABLE.loc[TABLE["status"] != "ok", "reason"] != "").all(), "a failed cell says why"
assert (TABLE.loc[TABLE["backend"] == "swin", "pattern"] == "shifted").all()
assert (
    measured.loc[measured["backend"] == "sdpa_5d", "kernel"].str.startswith("_scaled_dot_product_attention_math").all()
)
assert set(TABLE["scope"]) >= {"map", "layer"}
print(f"{DIRECTORY}: {len(measured)} of {len(TABLE)} cells measured, the others with a reason")
