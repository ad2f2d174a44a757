"""A socket that messages cross, one JSON object a line, checked when it is read.

File descriptors travel beside the lines that mention them. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from typing import get_args

from attnbench.core.errors import AttnbenchError
from attnbench.core.files import read
from attnbench.core.protocol import Message

_LONGEST_LINE = 2**26
_CHUNK = 2**18
_MOST_DESCRIPTORS = 4
_KINDS: dict[str, type] = {kind.__name__: kind for kind in get_args(Message)}


class GarbledError(ValueError):
    """A line that is no message, or not the one that was due."""


class ClosedError(ConnectionError):
    """The other end is closed."""


def encode(message: Message, *, number: int = 0, descriptors: int = 0) -> bytes:
    """One line of JSON."""
    kind = type(message).__name__
    line = {"kind": kind, "number": number, "descriptors": descriptors, "message": vars(message)}
    return json.dumps(line, default=vars).encode() + b"\n"  # asdict would take three times as long


def decode(line: bytes) -> tuple[Message, int, int]:
    """What ``encode`` was given: the message, its number and how many descriptors belong to it.

    Raises:
        GarbledError: It is no message.
    """
    try:
        data = json.loads(line)
        number, descriptors = read(int, data["number"]), read(int, data["descriptors"])
        return read(_KINDS[data["kind"]], data["message"]), number, descriptors
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, AttnbenchError) as error:
        raise GarbledError(" ".join(str(error).split())[:200]) from None


def memory_file() -> int:
    """A descriptor of a new file in memory, which is gone with the last process that has it open."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("attnbench", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Channel:
    """One end of a socket that messages cross.

    Args:
        end: A stream socket.
        trusted: Whether descriptors are taken from the other end.
    """

    def __init__(self, end: socket.socket, *, trusted: bool = True) -> None:
        self._socket = end
        self._trusted = trusted
        self._buffer = bytearray()
        self._searched = 0
        self._descriptors: list[int] = []

    def fileno(self) -> int:
        """For ``select``."""
        return self._socket.fileno()

    def send(self, message: Message, *, number: int = 0, descriptors: Sequence[int] = ()) -> None:
        """Send a message, and copies of some descriptors.

        Raises:
            ClosedError: Nobody is there.
        """
        data = memoryview(encode(message, number=number, descriptors=len(descriptors)))
        try:
            if descriptors:
                data = data[socket.send_fds(self._socket, [data], list(descriptors)) :]
            self._socket.sendall(data)
        except OSError as error:
            raise ClosedError(str(error)) from None

    def fetch(self) -> None:
        """Wait for some bytes.

        Raises:
            ClosedError: There will be none.
            GarbledError: There are too many without an end of line.
        """
        try:
            if self._trusted:
                chunk, found, _, _ = socket.recv_fds(self._socket, _CHUNK, _MOST_DESCRIPTORS)
                self._descriptors += found
            else:
                chunk = self._socket.recv(_CHUNK)
        except OSError as error:
            raise ClosedError(str(error)) from None
        if not chunk:
            raise ClosedError("the other end is closed")
        self._buffer += chunk
        if len(self._buffer) > _LONGEST_LINE:
            raise GarbledError(f"a line of more than {_LONGEST_LINE} bytes")

    def take(self) -> tuple[Message, int, list[int]] | None:
        """The next message that has arrived, its number and descriptors; None where there is none.

        Raises:
            GarbledError: It is no message.
        """
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        message, number, count = decode(line)
        if count > len(self._descriptors) or count < 0:
            raise GarbledError("a message without its descriptors")
        taken, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return message, number, taken

    def messages(self) -> Iterator[tuple[Message, int, list[int]]]:
        """Messages as they come, until the other end is closed."""
        while True:
            while (found := self.take()) is not None:
                yield found
            try:
                self.fetch()
            except ClosedError:
                return

    def close(self) -> None:
        """Let go; safe to call twice."""
        self._socket.close()
