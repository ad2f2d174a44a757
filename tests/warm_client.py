"""Stands for a process that is forked elsewhere: hands on its streams, and ends as that one does. See ``warm.py``."""

import json
import os
import signal
import socket
import sys


def main(path: str, mode: str, *arguments: str) -> None:
    asked = {
        "arguments": arguments, "mode": mode, "directory": os.getcwd(), "environment": dict(os.environ),  # noqa: PTH109
    }  # fmt: skip
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [json.dumps(asked).encode()], [0, 1, 2])
        code = int(server.recv(100))
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
