"""Images on http:// and https:// that a manifest names. They are read and never written or listed."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import BinaryIO, NoReturn

from urllib3 import BaseHTTPResponse

from transforms import defaults
from transforms.errors import Changed, Unreadable, UsageError
from transforms.storage import web_access, web_responses, web_urls
from transforms.storage.base import ALL_KEYS, KeyRange, Stat
from transforms.storage.web_access import Access
from transforms.storage.web_connections import Resolve
from transforms.storage.web_hosts import Pacing
from transforms.storage.web_requests import Requests

_STAT_TIMEOUT = 60.0  # seconds


def check(uri: str) -> None:
    """Raise UsageError for a URI that names no file of a host."""
    web_urls.parse(uri)


_ONLY_IMAGES = "only images that a manifest names are read from there; copy the file to a disk or a bucket"


class WebFiles:
    """``FileSystem`` for http:// and https://, of which only ``stat`` and ``read`` exist.

    A version is the strong ETag, else the time of Last-Modified, else the weak ETag, else ``sha256-`` and 16 hex
    digits over the bytes. What may be read is in ``web_access.current()``.

    Args:
        pacing: How long and how often hosts are asked.
        resolve: The resolver of names, with the signature of ``socket.getaddrinfo``.
    """

    def __init__(self, pacing: Pacing | None = None, resolve: Resolve = socket.getaddrinfo) -> None:
        self._pacing = pacing or Pacing()
        self._resolve = resolve
        self.close()
        os.register_at_fork(after_in_child=self.close)  # connections and locks must not be shared with the parent

    def close(self) -> None:
        """Forget all connections and hosts."""
        self._lock = threading.Lock()
        self._requests: dict[Access, Requests] = {}

    def stat(self, uri: str) -> Stat:
        """Return the version of an image from a HEAD request, and its size, which is 0 if the server does not say.

        Raises:
            NotFound: There is no such image.
            Unreadable: The server gives no version, or does not answer.
        """
        try:
            found = self._sent().send("HEAD", uri, _stat_of(uri), _STAT_TIMEOUT)
        except Unreadable as exc:
            if exc.retryable and not exc.answered:
                raise
            found = None  # some servers refuse HEAD
        if found is None:
            first = {"Range": "bytes=0-0"}
            found = self._sent().send("GET", uri, _stat_of(uri), _STAT_TIMEOUT, first)
        if found is None:
            raise Unreadable(f"{uri}: the server gives no ETag and no Last-Modified", retryable=True, answered=True)
        return found

    def read(
        self,
        uri: str,
        version: str | None = None,
        max_bytes: int | None = None,
        *,
        size: int | None = None,  # noqa: ARG002 - only the response is believed
        timeout: float | None = None,
    ) -> tuple[bytes, Stat]:
        """Return the bytes of an image. Raises Changed if the response has validators and none is ``version``."""

        def use(response: BaseHTTPResponse) -> tuple[bytes, Stat]:
            if response.status == 206:
                raise Unreadable(f"{uri}: the server sends a part of the file, which was not asked for")
            given = web_responses.versions(response)
            if version is not None and given and version not in given:
                raise Changed(f"{uri} was overwritten: version {version} was listed, the current version is {given[0]}")
            data = web_responses.read_body(response, uri, max_bytes)
            own = web_responses.version_of_bytes(data)
            if version is not None and version != own and not given and version.startswith("sha256-"):
                raise Changed(f"{uri} was overwritten: version {version} is known, the current version is {own}")
            return data, Stat(uri, len(data), version or (given or [own])[0])

        return self._sent().send("GET", uri, use, timeout or defaults.FETCH_TIMEOUT)

    def _sent(self) -> Requests:
        access = web_access.current()
        with self._lock:
            if access not in self._requests:
                self._requests[access] = Requests(access, self._pacing, self._resolve)
            return self._requests[access]

    def open(self, uri: str, version: str | None = None) -> tuple[BinaryIO, Stat]:  # noqa: ARG002
        """Raise UsageError."""
        _refuse(uri, _ONLY_IMAGES)

    def read_end(self, uri: str, count: int) -> bytes:  # noqa: ARG002
        """Raise UsageError."""
        _refuse(uri, _ONLY_IMAGES)

    def write(self, uri: str, data: bytes) -> None:  # noqa: ARG002
        """Raise UsageError."""
        refuse_output(uri)

    def create(self, uri: str) -> AbstractContextManager[BinaryIO]:
        """Raise UsageError."""
        refuse_output(uri)

    def delete(self, uri: str) -> None:
        """Raise UsageError."""
        refuse_output(uri)

    def write_if(self, uri: str, data: bytes, version: str | None) -> str | None:  # noqa: ARG002
        """Raise UsageError."""
        refuse_output(uri)

    def delete_if(self, uri: str, version: str) -> bool:  # noqa: ARG002
        """Raise UsageError."""
        refuse_output(uri)

    def written_at(self, uri: str) -> datetime:
        """Raise UsageError."""
        refuse_output(uri)

    def half_written(self, prefix: str, *, recursive: bool = True) -> Iterator[str]:  # noqa: ARG002
        """Raise UsageError."""
        refuse_output(prefix)

    def walk(
        self,
        prefix: str,
        *,
        recursive: bool = True,  # noqa: ARG002
        keys: KeyRange = ALL_KEYS,  # noqa: ARG002
        page: int | None = None,  # noqa: ARG002
    ) -> Iterator[Stat]:
        """Raise UsageError."""
        refuse_source(prefix)


def refuse_source(uri: str) -> NoReturn:
    """Raise UsageError for a URI that is not named by a manifest."""
    _refuse(uri, "its folders cannot be listed; name the images in a manifest, such as a .txt with one URI a line")


def refuse_output(uri: str) -> NoReturn:
    """Raise UsageError for a URI that is to be written."""
    _refuse(uri, "nothing can be written there; name a folder on a disk or in a bucket")


def _refuse(uri: str, reason: str) -> NoReturn:
    raise UsageError(f"{uri} is on the web: {reason}")


def _stat_of(uri: str) -> Callable[[BaseHTTPResponse], Stat | None]:
    def use(response: BaseHTTPResponse) -> Stat | None:
        given = web_responses.versions(response)
        size = web_responses.stored_size(response)
        web_responses.drain(response)
        return Stat(uri, size, given[0]) if given else None

    return use
