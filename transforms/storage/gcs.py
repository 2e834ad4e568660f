"""Objects on gs://, through google-cloud-storage.

A read returns one generation of an object. No byte leaves this module before the crc32c of the whole object is
verified. The library alone does not suffice: it resumes a short download, and verifies nothing of what it resumed. So
each attempt here is a whole download without the library's retries.

An object with ``Content-Encoding: gzip`` is downloaded as stored, so that its size and checksum match the listing, and
is decoded here to at most ``max_bytes``. Other encodings are not decoded.
"""

from __future__ import annotations

import gzip
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO, TypeVar, cast

from google.api_core.exceptions import NotFound as NoSuchObject
from google.api_core.exceptions import PreconditionFailed
from google.api_core.retry import Retry
from google.cloud.storage.retry import DEFAULT_RETRY
from google_crc32c import Checksum

from transforms.errors import Changed, NotFound, Unreadable
from transforms.storage import ahead, gcs_content
from transforms.storage.base import ALL_KEYS, KeyRange, Stat, check_size, spool
from transforms.storage.gcs_client import blob_of, bucket_of, is_transient, reading, stat_of, writing

RETRY: Retry = DEFAULT_RETRY.with_timeout(120.0)  # seconds over all attempts of one request
_AS_STORED = {"raw_download": True, "single_shot_download": True, "checksum": None}  # verified here instead
TIMEOUT = (10.0, 60.0)  # seconds to connect, and for the whole response
_DOWNLOADS = 4  # of an object whose checksum is wrong
_PAGE = 5_000  # maximum number of names in a response
_BINARY = "application/octet-stream"

_T = TypeVar("_T")


class GcsObjects:
    """``FileSystem`` for gs://.

    Args:
        retry: The policy of google-api-core for each request. Its timeout, in seconds, covers all attempts.
        timeout: Seconds to connect, and seconds for the whole response, of each attempt.
    """

    def __init__(self, retry: Retry = RETRY, timeout: tuple[float, float] = TIMEOUT) -> None:
        self._retry = retry.with_predicate(is_transient)
        self._timeout = timeout
        self._request = {"retry": self._retry, "timeout": timeout}

    def stat(self, uri: str) -> Stat:
        """Return the size and generation of an object with one request. Raises NotFound, Unreadable."""
        return stat_of(uri, self._metadata(uri))

    def read(
        self,
        uri: str,
        version: str | None = None,
        max_bytes: int | None = None,
        *,
        size: int | None = None,
        timeout: float | None = None,
    ) -> tuple[bytes, Stat]:
        """Return the bytes of one generation.

        This takes one request if ``version`` and ``size`` are given, or ``version`` without a limit, and else two.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        try:
            if version is None or (size is None and max_bytes is not None):
                known = stat_of(uri, self._metadata(uri, version, end))
                version, size = known.version, known.size
            if size is not None:
                check_size(Stat(uri, size, version), max_bytes)
            data, encoding = self._whole(uri, version, end)
        except Unreadable as exc:
            if time.monotonic() < end:
                raise
            raise Unreadable(
                f"{uri}: the download did not end within {timeout:g} s; allow more time with --fetch-timeout ({exc})",
                retryable=True,
                version=version,
            ) from exc
        stored = Stat(uri, len(data), version)
        check_size(stored, max_bytes)  # the given size may be wrong
        if encoding == "gzip":
            data = gcs_content.gunzip(data, stored, max_bytes)
        return data, stored

    def open(self, uri: str, version: str | None = None) -> tuple[BinaryIO, Stat]:
        """Return a seekable stream of one generation: a verified copy, in memory or in a temporary file."""
        for _ in range(_DOWNLOADS):
            blob = self._metadata(uri, version)
            file = stat_of(uri, blob)
            checksum = Checksum()
            copy = spool(file, self._pieces(file, checksum))
            if gcs_content.to_text(checksum) == blob.crc32c:
                stream = gzip.GzipFile(fileobj=copy) if blob.content_encoding == "gzip" else copy
                return cast(BinaryIO, stream), file
            copy.close()
        raise gcs_content.wrong_bytes(uri, _DOWNLOADS)

    def read_end(self, uri: str, count: int) -> bytes:
        """Return the last bytes of the current generation, as stored."""
        file = self.stat(uri)
        with self._one_generation(uri, file.version):
            return self._send(partial(_piece, file, max(0, file.size - count), file.size)) if file.size else b""

    def write(self, uri: str, data: bytes) -> None:
        """Upload with a checksum. An object becomes visible only when it is complete, and a repetition is harmless."""
        with writing(uri):
            self._upload(uri, data)

    @contextmanager
    def create(self, uri: str) -> Iterator[BinaryIO]:
        """Collect the content in a temporary file on this disk, and upload it with a checksum."""
        with tempfile.TemporaryFile() as file:
            yield file
            size = file.tell()
            blob = blob_of(uri)
            options = {"size": size, "content_type": _BINARY, "checksum": "crc32c", **self._request}
            with writing(uri):
                self._retry(partial(blob.upload_from_file, file, rewind=True, **options))()

    def delete(self, uri: str) -> None:
        """Delete an object. It is no error if it does not exist."""
        blob = blob_of(uri)
        with writing(uri), suppress(NoSuchObject):
            blob.delete(**self._request)

    def write_if(self, uri: str, data: bytes, version: str | None) -> str | None:
        """See ``FileSystem.write_if``. The server checks the generation."""
        with writing(uri), suppress(PreconditionFailed):
            return self._upload(uri, data, if_generation_match=int(version or 0))
        return None

    def delete_if(self, uri: str, version: str) -> bool:
        """See ``FileSystem.delete_if``. The server checks the generation."""
        with writing(uri), suppress(NoSuchObject, PreconditionFailed):
            blob_of(uri).delete(if_generation_match=int(version), **self._request)
            return True
        return False

    def written_at(self, uri: str) -> datetime:
        """Return when an object was last written, by the clock of the server. Raises NotFound."""
        updated: datetime = self._metadata(uri).updated
        return updated

    def _upload(self, uri: str, data: bytes, **condition: int) -> str:
        kind = "text/html; charset=utf-8" if uri.endswith(".html") else _BINARY  # a page opens in a browser
        blob = blob_of(uri)
        upload = partial(blob.upload_from_string, data, kind, checksum="crc32c", **condition, **self._request)
        self._retry(upload)()  # the library parses the response after its last attempt
        return str(blob.generation)

    def half_written(self, prefix: str, *, recursive: bool = True) -> Iterator[str]:  # noqa: ARG002
        """Yield nothing, because an object does not exist before its upload ends."""
        return iter(())

    def walk(
        self, prefix: str, *, recursive: bool = True, keys: KeyRange = ALL_KEYS, page: int | None = None
    ) -> Iterator[Stat]:
        """Yield sorted objects, except those named as folders. Raises NotFound if there is no bucket."""
        bucket, folder = bucket_of(prefix)
        with reading(prefix):
            for blob in bucket.client.list_blobs(
                bucket,
                prefix=folder or None,
                start_offset=bucket_of(keys.start)[1] if keys.start else None,
                end_offset=bucket_of(keys.end)[1] if keys.end is not None else None,
                delimiter=None if recursive else "/",
                fields="items(name,size,generation),nextPageToken",
                page_size=page or _PAGE,
                **self._request,
            ):
                if not blob.name.endswith("/"):
                    yield stat_of(f"gs://{bucket.name}/{blob.name}", blob)

    def _metadata(self, uri: str, version: str | None = None, end: float = math.inf) -> Any:
        blob = blob_of(uri, version)
        with self._one_generation(uri, version):
            self._send(blob.reload, end)
        return blob

    def _whole(self, uri: str, version: str, end: float) -> tuple[bytes, str | None]:
        """Return the stored bytes of a generation, with one request, and their encoding."""
        for _ in range(_DOWNLOADS):
            blob = blob_of(uri, version)
            with self._one_generation(uri, version):
                data: bytes = self._send(partial(blob.download_as_bytes, **_AS_STORED), end)
            # The response has the checksum, unless a proxy removed it.
            expected = blob.crc32c or self._metadata(uri, version, end).crc32c
            if gcs_content.to_text(Checksum(data)) == expected:
                return data, blob.content_encoding
        raise gcs_content.wrong_bytes(uri, _DOWNLOADS)

    def _pieces(self, file: Stat, checksum: Checksum) -> Iterator[bytes]:
        """Yield the stored bytes of a generation, and update their checksum."""

        def download(start: int, end: int) -> bytes:
            with self._one_generation(file.uri, file.version):
                return self._send(partial(_piece, file, start, end))

        for data in ahead.pieces(file.size, download):
            checksum.update(data)
            yield data

    def _send(self, request: Callable[..., _T], end: float = math.inf) -> _T:
        """Call ``request(retry=None, timeout=...)`` until it succeeds or the time ``end``, by time.monotonic()."""
        connect, respond = self._timeout

        def attempt() -> _T:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("no time is left for another attempt")
            return request(retry=None, timeout=(min(connect, left), respond if end == math.inf else left))

        most = self._retry.timeout
        retry = self._retry if end == math.inf else self._retry.with_timeout(min(most or end, end - time.monotonic()))
        return retry(attempt)()

    @contextmanager
    def _one_generation(self, uri: str, version: str | None) -> Iterator[None]:
        """Convert errors as ``reading`` does, and raise Changed if only another version exists."""
        try:
            with reading(uri):
                yield
        except NotFound:
            if version is None:
                raise
            now = self.stat(uri)  # raises NotFound if there is no version
            raise Changed(
                f"{uri} was overwritten: version {version} was listed, the current version is {now.version}"
            ) from None


def _piece(file: Stat, start: int, end: int, **options: Any) -> bytes:
    """Return the stored bytes from ``start`` up to ``end``. Raises ConnectionError if fewer arrive."""
    blob = blob_of(file.uri, file.version)
    data: bytes = blob.download_as_bytes(start=start, end=end - 1, **_AS_STORED, **options)
    if len(data) != end - start:
        raise ConnectionError(f"{len(data):,} bytes arrived instead of {end - start:,}")
    return data
