"""Examples of every command, as help and the reference show them; a test reads each as the command line does."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": (
        "run quick",
        "show latest",
        "run quick --backend naive --backend my_kernels:Mine",
        "ab quick --base .venv-old --candidate .venv-new",
    ),
    "run": (
        "run quick",
        "run suite.yaml --backend naive --backend my_kernels:Mine --case 'stage 1*'",
        "run swin_t --set device=cuda:1 --set measure.processes=5 --output out",
        "run suite.yaml --resume results/my-model/my-gpu/20261123T080000Z-1a2b",
    ),
    "ab": (
        "ab quick --base .venv-old --candidate .venv-new",
        "ab suite.yaml --base-path ../main --candidate-path . --fail-above 5",
        "ab quick --base-backend sdpa --candidate-backend my_kernels:Mine",
    ),
    "noise": ("noise quick",),
    "suites": ("suites", "suites show quick", "suites init my.yaml --model swin_t --pixels 384"),
    "suites show": ("suites show quick",),
    "suites init": ("suites init my.yaml", "suites init my.yaml --model swin_t --pixels 384"),
    "show": (
        "show latest",
        "show latest --rows case --columns backend",
        "show latest --backend sdpa --case 'stage 1*' --status ok",
        "show latest --format csv",
    ),
    "report": ("report results/quick -o report.html",),
    "publish": ("publish results -o site",),
    "plot": ("plot latest", "plot latest --x window -o plot.svg"),
    "recommend": ("recommend --resolution 56 --window 7 --heads 2 --dtype float16 --memory-limit 2GiB",),
    "runs": ("runs", "runs --suite quick", "runs rm --older-than 30d --keep 5"),
    "runs rm": ("runs rm --older-than 30d", "runs rm --keep 5 --yes"),
    "compare": ("compare results/quick latest", "compare monday tuesday --fail-above 10"),
    "baseline": ("baseline save latest --name nightly", "baseline check latest --name nightly"),
    "baseline save": ("baseline save latest --name nightly --keep 30",),
    "baseline check": ("baseline check latest --name nightly --export junit=junit.xml",),
    "baseline accept": ("baseline accept latest --name nightly --cell 'stage 1/sdpa' --why 'exact softmax'",),
    "baseline list": ("baseline list",),
    "backends": ("backends", "backends --suite quick"),
    "doctor": ("doctor",),
    "verify": ("verify", "verify --quick --export junit=verify.xml"),
    "schema": ("schema > suite.schema.json", "schema results"),
}
"""By command; the first of all under an empty name."""
