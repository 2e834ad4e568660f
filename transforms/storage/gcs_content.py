"""The content of an object on gs:// as it is stored: its checksum, and its encoding."""

from __future__ import annotations

import base64
import gzip
import io
import zlib

from google_crc32c import Checksum

from transforms.errors import TooManyBytes, Unreadable
from transforms.storage.base import Stat


def to_text(checksum: Checksum) -> str:
    """Return a checksum as Google Cloud Storage writes it."""
    return base64.b64encode(checksum.digest()).decode()


def wrong_bytes(uri: str, downloads: int) -> Unreadable:
    """Return the error for an object whose checksum was wrong in several downloads."""
    return Unreadable(
        f"{uri}: the bytes that arrived do not match the checksum of the object, in {downloads} downloads; "
        "check the proxies between this machine and the bucket, and run again",
        retryable=True,
        answered=True,
    )


def gunzip(data: bytes, stored: Stat, max_bytes: int | None) -> bytes:
    """Return the decoded bytes of an object with ``Content-Encoding: gzip``.

    Raises:
        TooManyBytes: There are more than ``max_bytes``. No more than these are decoded.
        Unreadable: The stored bytes are not gzip.
    """
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
