"""ImageRef -> its bytes, their version and their hash."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from transforms import defaults
from transforms.errors import ListError, NoCredentials, UsageError
from transforms.records import ImageRef
from transforms.storage import files


class Fetched(NamedTuple):
    """``version`` is never empty; ``sha256`` is 64 hex digits over ``data``."""

    data: bytes
    version: str
    sha256: str


def fetch(ref: ImageRef, max_bytes: int = defaults.MAX_BYTES) -> Fetched:
    """Read the version that was listed, or the present one where the list did not say.

    Raises FetchError, or ListError for a line of a manifest that names no image.
    """
    if ref.fault is not None:
        raise ListError(ref.fault)
    try:
        data, stat = files.read(ref.uri, version=ref.version, size=ref.size, max_bytes=max_bytes)
    except NoCredentials:
        raise  # the fault of no image: the run must stop
    except UsageError as error:  # such as gs://bucket, which names no object
        raise ListError(str(error)) from error
    return Fetched(data, stat.version, hashlib.sha256(data).hexdigest())
