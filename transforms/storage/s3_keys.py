"""URIs on s3://: their buckets and keys, and the arguments of a request for them."""

from __future__ import annotations

import re

from transforms.errors import NotFound
from transforms.storage import bucket_names

_ETAG = re.compile(r"[!#-~]+")
_LAST = "\U0010fffd"  # sorts after the characters of all keys but the strangest


def bucket_of(uri: str) -> tuple[str, str]:
    """Return the bucket of a URI and the name in it. Raises NotFound for names that no object can have."""
    bucket, name = bucket_names.split(uri)
    try:
        name.encode()
    except ValueError as exc:
        raise NotFound(f"{uri!r} is not a valid name: {exc}") from exc
    return bucket, name


def object_of(uri: str, version: str | None = None) -> dict[str, str]:
    """Return the arguments of a request for an object, of one version or the current one. Raises UsageError."""
    bucket_names.require_object(uri)
    bucket, name = bucket_of(uri)
    match = {} if version is None else {"IfMatch": f'"{version}"'}
    return {"Bucket": bucket, "Key": name, **match}


def is_etag(version: str) -> bool:
    """Return whether a version can be an ETag."""
    return _ETAG.fullmatch(version) is not None


def before(key: str) -> str:
    """Return a key that sorts before ``key``, with few keys in between. A listing starts after the key that it names.

    The keys in between are listed too. Empty if there is no such key.
    """
    if not key:
        return ""
    rest, last = key[:-1], ord(key[-1])
    if last <= ord("!"):  # The characters below are for control, and not every server takes them.
        return rest
    lower = 0xD7FF if last == 0xE000 else last - 1  # Surrogates are no characters.
    return rest + chr(lower) + _LAST
