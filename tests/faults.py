"""What a network can do to an answer. A server for tests applies a fault to any of its answers.

A fault is the status to answer with instead, or the name of one of FAULTS:

    drop               no answer, the connection is closed
    reset              half of the answer, then the connection is reset
    cut                half of the body, then the connection is closed
    short              half of the body, framed as if it were all of it
    empty              no body, framed as if it were all of it
    corrupt            the last byte of the body is another one
    corrupt start      the first byte of the body is another one
    short and corrupt  half of the body, framed as if it were all of it, and its first byte is another one
    stall              half of the body, and then nothing until the client goes away
    drip               one byte at a time, from the status line on, with PAUSE seconds in between
"""

from __future__ import annotations

import random
import re
import select
import socket
import struct
import threading
from collections.abc import Callable, Sequence

Fault = int | str

PAUSE = 0.05  # seconds; what drips is slow because it is long
_STALL = 60.0  # seconds, for a client that never goes away

STATUSES: tuple[Fault, ...] = (408, 429, 500, 502, 503, 504)


class Gone(Exception):
    """The connection is of no more use."""


class Wire:
    """The connection to a client, below the buffers of the server."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def wait(self, seconds: float) -> None:
        """Wait, but not for a client that goes away."""
        if select.select([self._connection], [], [], seconds)[0]:
            raise Gone

    def reset(self) -> None:
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone


def _drop(wire: Wire, head: bytes, body: bytes) -> None:
    raise Gone


def _reset(wire: Wire, head: bytes, body: bytes) -> None:
    wire.send((head + body)[: len(head + body) // 2])
    wire.reset()


def _cut(wire: Wire, head: bytes, body: bytes) -> None:
    wire.send(head + body[: len(body) // 2])
    raise Gone


def _short(wire: Wire, head: bytes, body: bytes) -> None:
    body = body[: len(body) // 2]
    wire.send(re.sub(rb"(?i)(\r\ncontent-length: )\d+", rb"\g<1>%d" % len(body), head) + body)


def _empty(wire: Wire, head: bytes, body: bytes) -> None:
    _short(wire, head, b"")


def _corrupt(wire: Wire, head: bytes, body: bytes) -> None:
    wire.send(head + body[:-1] + _other(body[-1:]))


def _corrupt_start(wire: Wire, head: bytes, body: bytes) -> None:
    wire.send(head + _other(body[:1]) + body[1:])


def _short_and_corrupt(wire: Wire, head: bytes, body: bytes) -> None:
    _short(wire, head, _other(body[:1]) + body[1:])


def _stall(wire: Wire, head: bytes, body: bytes) -> None:
    wire.send(head + body[: len(body) // 2])
    wire.wait(_STALL)
    raise Gone


def _drip(wire: Wire, head: bytes, body: bytes) -> None:
    for place in range(len(head + body)):
        wire.send((head + body)[place : place + 1])
        wire.wait(PAUSE)


def _other(byte: bytes) -> bytes:
    return bytes([byte[0] ^ 1]) if byte else b""


FAULTS: dict[str, Callable[[Wire, bytes, bytes], None]] = {
    "drop": _drop,
    "reset": _reset,
    "cut": _cut,
    "short": _short,
    "empty": _empty,
    "corrupt": _corrupt,
    "corrupt start": _corrupt_start,
    "short and corrupt": _short_and_corrupt,
    "stall": _stall,
    "drip": _drip,
}

EVERY_FAULT: tuple[Fault, ...] = (*STATUSES, *FAULTS)


def spoil(fault: str, connection: socket.socket, answer: bytes) -> bool:
    """Send an answer with a fault. -> whether the connection can be used again."""
    head, end, body = answer.partition(b"\r\n\r\n")
    try:
        FAULTS[fault](Wire(connection), head + end, body)
    except (Gone, ConnectionError):
        return False
    return True


def shower(seed: int, share: float = 0.3, kinds: Sequence[Fault] = EVERY_FAULT) -> Callable[[str, str], Fault | None]:
    """Faults for a share of all requests of every kind, the same for the same seed and order of the requests."""
    chance = random.Random(seed)
    alone = threading.Lock()

    def fault(method: str, path: str) -> Fault | None:
        with alone:
            return chance.choice(kinds) if chance.random() < share else None

    return fault
