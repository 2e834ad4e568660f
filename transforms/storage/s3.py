"""Objects on s3://, through botocore: Amazon S3, and servers with its interface such as MinIO, Ceph and Cloudflare R2.

A version is an ETag. A read returns one version of an object: the server compares the ETag, so that no byte of another
version arrives. Then these are verified, in this order:

    the length                           always
    crc32c, crc32, SHA-256 or SHA-1      if the object was uploaded with one over its whole content
    MD5                                  if the ETag is one: uploaded in one part, without a key of KMS or a customer

Of an object in several parts without a checksum over its whole content, only the length is verified.

An object with ``Content-Encoding: gzip`` is downloaded as stored, so that its size and checksum match the listing, and
is decoded here to at most ``max_bytes``. Other encodings are not decoded.
"""

from __future__ import annotations

import gzip
import io
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import partial
from typing import Any, BinaryIO, TypeVar, cast

from botocore.exceptions import ClientError
from google.api_core.retry import Retry

from transforms.errors import Changed, NotFound, Unreadable
from transforms.storage import ahead, gcs_content, s3_content, s3_http, s3_requests
from transforms.storage.base import ALL_KEYS, KeyRange, Stat, check_size, spool
from transforms.storage.s3_client import client, is_amazon
from transforms.storage.s3_errors import ignoring_absent, is_transient, reading, status_of, writing
from transforms.storage.s3_keys import is_etag, object_of
from transforms.storage.s3_requests import stat_of

RETRY = Retry(initial=1.0, maximum=60.0, multiplier=2.0, timeout=120.0)  # seconds over all attempts of one request
_DOWNLOADS = 4  # of an object whose checksum is wrong
_BINARY = "application/octet-stream"

_T = TypeVar("_T")


class S3Objects:
    """``FileSystem`` for s3://.

    ``write_if`` and ``delete_if`` are atomic on Amazon S3, and on servers that implement its conditional requests.

    Args:
        retry: The policy of google-api-core for each request. Its timeout, in seconds, covers all attempts.
    """

    def __init__(self, retry: Retry = RETRY) -> None:
        self._retry = retry.with_predicate(is_transient)

    def stat(self, uri: str) -> Stat:
        """Return the size and ETag of an object with one request. Raises NotFound, Unreadable."""
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
        """Return the bytes of one version, with one request. The size is checked before the body arrives."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        if version is not None and size is not None:
            check_size(Stat(uri, size, version), max_bytes)
        try:
            data, response = self._whole(uri, version, max_bytes, end)
        except Unreadable as exc:
            if time.monotonic() < end:
                raise
            raise Unreadable(
                f"{uri}: the download did not end within {timeout:g} s; allow more time with --fetch-timeout ({exc})",
                retryable=True,
                version=version,
            ) from exc
        stored = stat_of(uri, response)
        return gcs_content.gunzip(data, stored, max_bytes) if _is_gzip(response) else data, stored

    def open(self, uri: str, version: str | None = None) -> tuple[BinaryIO, Stat]:
        """Return a seekable stream of one version: a verified copy, in memory or in a temporary file."""
        digest = None
        for _ in range(_DOWNLOADS):
            response = self._metadata(uri, version)
            file = stat_of(uri, response)
            checksum = s3_content.Checksum(response, trust_etag=is_amazon())
            copy = spool(file, self._pieces(file, checksum))
            if checksum.matches(digest):
                return cast(BinaryIO, gzip.GzipFile(fileobj=copy) if _is_gzip(response) else copy), file
            digest = checksum.digest()
            copy.close()
        raise gcs_content.wrong_bytes(uri, _DOWNLOADS)

    def read_end(self, uri: str, count: int) -> bytes:
        """Return the last bytes of the current version, as stored."""
        file = self.stat(uri)
        return self._piece(file, max(0, file.size - count), file.size) if file.size else b""

    def write(self, uri: str, data: bytes) -> None:
        """Upload with a checksum. An object becomes visible only when it is complete, and a repetition is harmless."""
        with writing(uri):
            self._upload(uri, data)

    @contextmanager
    def create(self, uri: str) -> Iterator[BinaryIO]:
        """Collect the content in a temporary file on this disk, and upload it with a checksum, at most 5 GiB."""
        with tempfile.TemporaryFile() as file:
            yield file
            put = object_of(uri) | {"ContentType": _BINARY, "ChecksumCRC32C": s3_content.crc32c_of(file)}

            def upload() -> Any:
                file.seek(0)
                return client().put_object(Body=file, **put)

            with writing(uri):
                self._send(upload)

    def delete(self, uri: str) -> None:
        """Delete an object. It is no error if it does not exist."""
        target = object_of(uri)
        with writing(uri, "s3:DeleteObject"), ignoring_absent():
            self._send(lambda: client().delete_object(**target))

    def write_if(self, uri: str, data: bytes, version: str | None) -> str | None:
        """See ``FileSystem.write_if``. The server compares the ETag.

        Servers other than Amazon S3 may ignore conditions. So the version is compared before the write there.
        """
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": f'"{version}"'}
        with writing(uri):
            if not is_amazon() and self._version(uri) != version:
                return None
            try:
                return self._upload(uri, data, **condition)
            except ClientError as exc:
                is_gone = version is not None and exc.response["Error"]["Code"] == "NoSuchKey"
                if status_of(exc) != 412 and not is_gone:
                    raise
        return None

    def delete_if(self, uri: str, version: str) -> bool:
        """See ``FileSystem.delete_if``. The server compares the ETag, and the version is compared before the delete."""
        if self._version(uri) == version:
            with writing(uri, "s3:DeleteObject"), ignoring_absent():
                self._send(lambda: client().delete_object(**object_of(uri, version)))
                return True
        return False

    def written_at(self, uri: str) -> datetime:
        """Return when an object was last written, to the second, by the clock of the server. Raises NotFound."""
        written: datetime = self._metadata(uri)["LastModified"]
        return written.astimezone(timezone.utc)

    def half_written(self, prefix: str, *, recursive: bool = True) -> Iterator[str]:  # noqa: ARG002
        """Yield nothing, because an object does not exist before its upload ends."""
        return iter(())

    def walk(
        self, prefix: str, *, recursive: bool = True, keys: KeyRange = ALL_KEYS, page: int | None = None
    ) -> Iterator[Stat]:
        """Yield sorted objects, except those named as folders. Raises NotFound if there is no bucket."""
        for response in s3_requests.pages(self._send, prefix, recursive, keys.start, page):
            for found in response.get("Contents", ()):
                uri = f"s3://{response['Name']}/{found['Key']}"
                if keys.end is not None and uri >= keys.end:
                    return
                if not uri.endswith("/") and keys.has(uri):
                    yield stat_of(uri, found, "Size")

    def _upload(self, uri: str, data: bytes, **condition: str) -> str:
        kind = "text/html; charset=utf-8" if uri.endswith(".html") else _BINARY  # a page opens in a browser
        put = object_of(uri) | {
            "ContentType": kind,
            "ChecksumCRC32C": s3_content.crc32c_of(io.BytesIO(data)),
            **condition,
        }
        response = self._send(lambda: client().put_object(Body=data, **put))
        return str(response["ETag"]).strip('"')

    def _version(self, uri: str) -> str | None:
        with suppress(NotFound):
            return self.stat(uri).version
        return None

    def _metadata(self, uri: str, version: str | None = None) -> Any:
        with self._one_version(uri, version):
            return self._send(partial(s3_requests.head, object_of(uri, version)))

    def _whole(self, uri: str, version: str | None, max_bytes: int | None, end: float) -> tuple[bytes, Any]:
        """Return the stored bytes of a version, and the response that describes them."""
        digest = None
        for _ in range(_DOWNLOADS):
            with self._one_version(uri, version):
                response, data = self._send(partial(s3_requests.download, uri, version, max_bytes), end)
            checksum = s3_content.Checksum(response, trust_etag=is_amazon())
            checksum.update(data)
            if checksum.matches(digest):
                return data, response
            digest = checksum.digest()
        raise gcs_content.wrong_bytes(uri, _DOWNLOADS)

    def _pieces(self, file: Stat, checksum: s3_content.Checksum) -> Iterator[bytes]:
        """Yield the stored bytes of a version, and update their checksum."""
        for data in ahead.pieces(file.size, partial(self._piece, file)):
            checksum.update(data)
            yield data

    def _piece(self, file: Stat, start: int, end: int) -> bytes:
        with self._one_version(file.uri, file.version):
            return self._send(partial(s3_requests.piece, file, start, end))

    def _send(self, request: Callable[[], _T], end: float = math.inf) -> _T:
        """Call ``request`` until it succeeds or the time ``end``, by time.monotonic()."""

        def attempt() -> _T:
            with s3_http.until(end):
                return request()

        most = self._retry.timeout
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError("no time is left for another attempt")
        retry = self._retry if end == math.inf else self._retry.with_timeout(min(most or left, left))
        return retry(attempt)()

    @contextmanager
    def _one_version(self, uri: str, version: str | None) -> Iterator[None]:
        """Convert errors as ``reading`` does, and raise Changed if only another version exists."""
        if version is not None and not is_etag(version):
            raise Changed(f"{uri}: version {version!r} is not the ETag of an object")
        with reading(uri):
            try:
                yield
                return
            except ClientError as exc:
                if status_of(exc) != 412:
                    raise
        now = self.stat(uri)  # raises NotFound if there is no version
        raise Changed(f"{uri} was overwritten: version {version} was listed, the current version is {now.version}")


def _is_gzip(response: Any) -> bool:
    return response.get("ContentEncoding") == "gzip"
