"""Requests to s3://."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from botocore.exceptions import ClientError

from transforms.errors import Unreadable
from transforms.storage import s3_keys
from transforms.storage.base import Stat, check_size
from transforms.storage.s3_client import client
from transforms.storage.s3_errors import reading, status_of
from transforms.storage.s3_keys import bucket_of, object_of

_PAGE = 1_000  # maximum number of names in a response


def stat_of(uri: str, response: Any, size: str = "ContentLength") -> Stat:
    """Return what a response says about an object. Raises Unreadable if it has no valid size and ETag."""
    try:
        return Stat(uri, int(response[size]), response["ETag"].strip('"'))
    except (KeyError, TypeError, ValueError) as exc:
        raise Unreadable(f"{uri}: the response has no valid size and ETag: {exc}", retryable=True) from exc


def head(target: dict[str, str]) -> Any:
    try:
        return client().head_object(**target)
    except ClientError as exc:
        if status_of(exc) not in (400, 403):
            raise
        client().get_object(Range="bytes=0-0", **target)["Body"].close()  # gives the reason, for which HEAD has no room
        raise


def download(uri: str, version: str | None, max_bytes: int | None) -> tuple[Any, bytes]:
    """Return a response and all bytes of its body. Raises TooManyBytes before the body arrives."""
    response = client().get_object(**object_of(uri, version))
    body = response["Body"]
    try:
        check_size(stat_of(uri, response), max_bytes)
        return response, body.read()
    except BaseException:
        body.close()
        raise


def piece(file: Stat, start: int, end: int) -> bytes:
    """Return the stored bytes from ``start`` up to ``end``. Raises ConnectionError if fewer arrive."""
    target = object_of(file.uri, file.version)
    data: bytes = client().get_object(Range=f"bytes={start}-{end - 1}", **target)["Body"].read()
    if len(data) != end - start:
        raise ConnectionError(f"{len(data):,} bytes arrived instead of {end - start:,}")
    return data


def pages(send: Callable[..., Any], prefix: str, recursive: bool, start: str, size: int | None) -> Iterator[Any]:
    """Yield the responses of a listing, in the order of the keys.

    Args:
        send: Sends a request, with repetitions.
        prefix: The URI that all URIs start with.
        recursive: Whether to list the folders below too.
        start: The first URI; empty for all.
        size: Maximum number of names in a response.
    """
    bucket, folder = bucket_of(prefix)
    request: dict[str, Any] = {"Bucket": bucket, "Prefix": folder, "MaxKeys": min(size or _PAGE, _PAGE)}
    if after := s3_keys.before(bucket_of(start)[1]) if start else "":
        request["StartAfter"] = after
    if not recursive:
        request["Delimiter"] = "/"
    while True:
        with reading(prefix, "s3:ListBucket"):
            response = send(lambda: client().list_objects_v2(**request))
        yield response
        if not response.get("IsTruncated"):
            return
        request["ContinuationToken"] = response["NextContinuationToken"]
