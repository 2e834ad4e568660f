"""HTTP responses that end in time.

The read timeout of ``requests`` limits the pause between two packets. A server that sends one byte every 20 seconds
therefore never exceeds it. Here, the read timeout of a request limits its whole response: the status line, the headers
and the body together.
"""

from __future__ import annotations

import http.client
import io
import math
import socket
import time
from typing import Any

import requests.adapters
from urllib3.connection import HTTPConnection, HTTPSConnection

PAUSE = 60.0  # seconds between two packets, where more time is left


class TimedAdapter(requests.adapters.HTTPAdapter):
    """An adapter of ``requests`` whose read timeout limits the time of a whole response."""

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """Return the connection pool of a request. It creates timed connections."""
        pool = super().get_connection_with_tls_context(*args, **options)
        pool.ConnectionCls = TimedHTTPS if pool.scheme == "https" else TimedHTTP
        return pool


class _TimedReader(io.RawIOBase):
    """The bytes that arrive on a socket until its timeout, as it is now, has passed."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        timeout = sock.gettimeout()
        self._raw, self._sock = raw, sock
        self._end = math.inf if timeout is None else time.monotonic() + timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the response did not end in time")
        self._sock.settimeout(min(left, PAUSE))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_TimedReader(self.fp.detach(), sock))


class TimedHTTP(HTTPConnection):
    response_class = _TimedResponse


class TimedHTTPS(HTTPSConnection):
    response_class = _TimedResponse
