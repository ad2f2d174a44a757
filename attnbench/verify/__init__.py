"""``attnbench verify``: the harness checks its own numbers on the machine it runs on. Never imports torch itself."""
