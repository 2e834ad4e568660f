"""Read the bytes of an image, with their version and hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from transforms import defaults, member_uris
from transforms.errors import ListError, NoCredentials, TooManyBytes, UsageError
from transforms.records import ImageRef
from transforms.shards import single
from transforms.shards.container import ShardOptions
from transforms.storage import files


class Fetched(NamedTuple):
    """The bytes of an image. ``version`` is never empty; ``sha256`` is 64 hex digits over ``data``."""

    data: bytes
    version: str
    sha256: str


def fetch(ref: ImageRef, max_bytes: int = defaults.MAX_BYTES, timeout: float = defaults.FETCH_TIMEOUT) -> Fetched:
    """Read the listed version of an image, or the current version if the listing has none.

    An image in a shard is looked for in it. To read all images of a shard, see ``transforms.history.members``.

    Args:
        ref: The image.
        max_bytes: Maximum size of the file.
        timeout: Maximum number of seconds for the download from gs:// or https://, over all
            attempts.

    Raises:
        ListError: The line of a manifest names no image.
        FetchError: The bytes cannot be read.
    """
    if ref.fault is not None:
        raise ListError(ref.fault)
    try:
        if member_uris.split(ref.uri) is not None:
            data, stat = single.read_member(ref.uri, ref.version, ShardOptions(max_bytes=max_bytes))
            return Fetched(data, stat.version, hashlib.sha256(data).hexdigest())
        if member_uris.kind(ref.uri) is not None:
            raise ListError(f"{ref.uri} is a shard of many images; pass it as a source of `beamsight run` or `Catalog`")
        data, stat = files.read(ref.uri, version=ref.version, size=ref.size, max_bytes=max_bytes, timeout=timeout)
    except NoCredentials:
        raise  # not the fault of the image, so the run must stop
    except UsageError as error:  # for example gs://bucket, which names no object
        raise ListError(str(error)) from error
    return Fetched(data, stat.version, hashlib.sha256(data).hexdigest())


def accept(ref: ImageRef, data: bytes | Callable[[], bytes], max_bytes: int = defaults.MAX_BYTES) -> Fetched:
    """Return bytes that the caller has already, or can read. Their version is that of the ref, or else their hash.

    Raises:
        ListError: The ref names no image.
        TooManyBytes: There are more than ``max_bytes``.
        ImageError: ``data`` raises it.
    """
    if ref.fault is not None:
        raise ListError(ref.fault)
    if callable(data):
        data = data()
    sha256 = hashlib.sha256(data).hexdigest()
    if len(data) > max_bytes:
        raise TooManyBytes(f"{ref.uri} has {len(data):,} bytes, more than the limit of {max_bytes:,}", version=sha256)
    return Fetched(data, ref.version or sha256, sha256)
