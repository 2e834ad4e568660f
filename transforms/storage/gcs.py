"""Objects on gs://, through google-cloud-storage.

A read returns one generation of an object and verifies its checksum. An object with ``Content-Encoding: gzip`` is
downloaded as stored, so that its size and checksum match the listing, and is decoded here to at most ``max_bytes``.
Other encodings are not decoded.
"""

from __future__ import annotations

import gzip
import io
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO

from google.api_core.exceptions import NotFound as NoSuchObject
from google.api_core.exceptions import PreconditionFailed
from google.api_core.retry import Retry
from google.cloud.storage.retry import DEFAULT_RETRY

from transforms.errors import Changed, NotFound, TooManyBytes, Unreadable, UsageError
from transforms.storage.base import ALL_KEYS, KeyRange, Stat, check_size
from transforms.storage.gcs_client import client, reading, writing

RETRY: Retry = DEFAULT_RETRY.with_timeout(120.0)  # seconds over all attempts of one request
_TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two packets
_PAGE = 5_000  # maximum number of names in a response
_BINARY = "application/octet-stream"
_BUFFER = 1 << 20  # bytes per request if a stream is read in small pieces


class GcsObjects:
    """``FileSystem`` for gs://.

    Args:
        retry: The policy of google-api-core for each request. Its timeout, in seconds, covers all attempts.
    """

    def __init__(self, retry: Retry = RETRY) -> None:
        self._request = {"retry": retry, "timeout": _TIMEOUT}
        # As stored and in one piece: the checksum of a resumed download is not verified.
        self._download = {**self._request, "raw_download": True, "single_shot_download": True}

    def stat(self, uri: str) -> Stat:
        """Return the size and generation of an object with one request. Raises NotFound, Unreadable."""
        return _stat_of(uri, self._metadata(uri))

    def read(
        self, uri: str, version: str | None = None, max_bytes: int | None = None, *, size: int | None = None
    ) -> tuple[bytes, Stat]:
        """Return the bytes of one generation.

        This takes one request if ``version`` and ``size`` are given, or ``version`` without a limit, and else two.
        """
        if version is None or (size is None and max_bytes is not None):
            known = _stat_of(uri, self._metadata(uri, version))
            version, size = known.version, known.size
        if size is not None:
            check_size(Stat(uri, size, version), max_bytes)
        blob = _blob(uri, version)
        with self._one_generation(uri, version):
            data = blob.download_as_bytes(**self._download)
        stored = Stat(uri, len(data), version)
        check_size(stored, max_bytes)  # the given size may be wrong
        if blob.content_encoding == "gzip":
            data = _gunzip(data, stored, max_bytes)
        return data, stored

    def open(self, uri: str) -> BinaryIO:
        """Return a seekable stream of one generation. No checksum is verified.

        Small reads share requests of 1 MiB. A larger read is one request, so copy in large pieces.
        """
        blob = self._metadata(uri)
        file = _stat_of(uri, blob)
        stream: Any = io.BufferedReader(_Pieces(file.size, partial(self._piece, file)), _BUFFER)
        return gzip.GzipFile(fileobj=stream) if blob.content_encoding == "gzip" else stream  # type: ignore[return-value]

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
            with writing(uri):
                _blob(uri).upload_from_file(
                    file, rewind=True, size=size, content_type=_BINARY, checksum="crc32c", **self._request
                )

    def delete(self, uri: str) -> None:
        """Delete an object. It is no error if it does not exist."""
        blob = _blob(uri)
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
            _blob(uri).delete(if_generation_match=int(version), **self._request)
            return True
        return False

    def written_at(self, uri: str) -> datetime:
        """Return when an object was last written, by the clock of the server. Raises NotFound."""
        updated: datetime = self._metadata(uri).updated
        return updated

    def _upload(self, uri: str, data: bytes, **condition: int) -> str:
        blob = _blob(uri)
        kind = "text/html; charset=utf-8" if uri.endswith(".html") else _BINARY  # a page opens in a browser
        blob.upload_from_string(data, kind, checksum="crc32c", **condition, **self._request)
        return str(blob.generation)

    def half_written(self, prefix: str, *, recursive: bool = True) -> Iterator[str]:  # noqa: ARG002
        """Yield nothing, because an object does not exist before its upload ends."""
        return iter(())

    def walk(
        self, prefix: str, *, recursive: bool = True, keys: KeyRange = ALL_KEYS, page: int | None = None
    ) -> Iterator[Stat]:
        """Yield sorted objects, except those named as folders. Raises NotFound if there is no bucket."""
        bucket, folder = _bucket(prefix)
        with reading(prefix):
            for blob in bucket.client.list_blobs(
                bucket,
                prefix=folder or None,
                start_offset=_split(keys.start)[1] if keys.start else None,
                end_offset=_split(keys.end)[1] if keys.end is not None else None,
                delimiter=None if recursive else "/",
                fields="items(name,size,generation),nextPageToken",
                page_size=page or _PAGE,
                **self._request,
            ):
                if not blob.name.endswith("/"):
                    yield _stat_of(f"gs://{bucket.name}/{blob.name}", blob)

    def _metadata(self, uri: str, version: str | None = None) -> Any:
        blob = _blob(uri, version)
        with self._one_generation(uri, version):
            blob.reload(**self._request)
        return blob

    def _piece(self, file: Stat, start: int, end: int) -> bytes:
        """Return the stored bytes from ``start`` up to ``end``."""
        blob = _blob(file.uri, file.version)
        with self._one_generation(file.uri, file.version):
            data: bytes = blob.download_as_bytes(start=start, end=end - 1, checksum=None, **self._download)
        return data

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


class _Pieces(io.RawIOBase):
    """A seekable raw stream of ``size`` bytes. Each read calls ``fetch(start, end)``."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._size, self._fetch, self._at = size, fetch, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._read(self._size)

    def _read(self, count: int) -> bytes:
        end = min(self._at + count, self._size)
        data = self._fetch(self._at, end) if self._at < end else b""
        self._at += len(data)
        return data


def check(uri: str) -> None:
    """Raise UsageError for a URI without a bucket or without a name."""
    bucket, name = _split(uri)
    if not name:
        raise UsageError(f"{uri} names a bucket but no object; write gs://{bucket}/NAME")


def _split(uri: str) -> tuple[str, str]:
    """Return ``bucket`` and ``any/name`` for ``gs://bucket/any/name``. Names may contain ``?``, ``#`` and ``%``."""
    bucket, _, name = uri[len("gs://") :].partition("/")
    if not bucket:
        raise UsageError(f"{uri} names no bucket; write gs://BUCKET/NAME")
    return bucket, name


def _bucket(uri: str) -> tuple[Any, str]:
    bucket, name = _split(uri)
    connection = client()
    try:
        name.encode()
        return connection.bucket(bucket), name
    except ValueError as exc:
        raise NotFound(f"{uri!r} is not a valid name: {exc}") from exc


def _blob(uri: str, version: str | None = None) -> Any:
    check(uri)
    bucket, name = _bucket(uri)
    if version is not None and not version.isdecimal():
        raise Changed(f"{uri}: version {version!r} is not a generation of an object")
    return bucket.blob(name, generation=None if version is None else int(version))


def _stat_of(uri: str, blob: Any) -> Stat:
    return Stat(uri, blob.size, str(blob.generation))


def _gunzip(data: bytes, stored: Stat, max_bytes: int | None) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            decoded = file.read(-1 if max_bytes is None else max_bytes + 1)
    except (OSError, EOFError, zlib.error) as exc:
        raise Unreadable(
            f"{stored.uri} is stored with Content-Encoding: gzip, but its bytes are not gzip: {exc}",
            version=stored.version,
        ) from exc
    if max_bytes is not None and len(decoded) > max_bytes:
        raise TooManyBytes(f"{stored.uri} decodes to more than --max-bytes {max_bytes:,}", version=stored.version)
    return decoded
