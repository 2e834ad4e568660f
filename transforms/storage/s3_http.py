"""HTTP connections to s3:// whose requests end in time, for botocore.

The read timeout of botocore limits the pause between two packets. Here it limits a whole response, as in
``timed_http``, and a ``with`` block can set an earlier end for the requests of its thread.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore import awsrequest

from transforms.storage.timed_http import TimedHTTP, TimedHTTPS

_thread = threading.local()


@contextmanager
def until(end: float) -> Iterator[None]:
    """End all requests that this thread sends in the ``with`` block by the time ``end``, by time.monotonic()."""
    before = getattr(_thread, "end", math.inf)
    _thread.end = end
    try:
        yield
    finally:
        _thread.end = before


def install(client: Any) -> None:
    """Make a client of botocore use timed connections. Call it before the first request."""
    client._endpoint.http_session._pool_classes_by_scheme.update(http=_HTTPPool, https=_HTTPSPool)


class _Timed:
    """A connection whose timeouts end with the time of its thread."""

    timeout: Any
    sock: Any

    def connect(self) -> None:
        self._shorten()
        super().connect()  # type: ignore[misc]

    def send(self, data: Any) -> None:
        # A connection that was kept open has the timeout of its last request.
        if self.sock is not None:
            self._shorten()
            self.sock.settimeout(self.timeout)
        super().send(data)  # type: ignore[misc]

    def getresponse(self) -> Any:
        self._shorten()
        return super().getresponse()  # type: ignore[misc]

    def _shorten(self) -> None:
        left = getattr(_thread, "end", math.inf) - time.monotonic()
        if left <= 0:
            raise TimeoutError("no time is left for the request")
        self.timeout = min(self.timeout, left)


class _HTTP(_Timed, awsrequest.AWSHTTPConnection):
    response_class = TimedHTTP.response_class


class _HTTPS(_Timed, awsrequest.AWSHTTPSConnection):
    response_class = TimedHTTPS.response_class


class _HTTPPool(awsrequest.AWSHTTPConnectionPool):
    ConnectionCls = _HTTP


class _HTTPSPool(awsrequest.AWSHTTPSConnectionPool):
    ConnectionCls = _HTTPS
