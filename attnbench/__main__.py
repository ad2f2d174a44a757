"""``python -m attnbench``: the command line where the script is not on the path."""

from attnbench.cli import main

main()
