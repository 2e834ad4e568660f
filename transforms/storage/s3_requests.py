"""Requests to s3:// for an object, each sent once."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from transforms.errors import Unreadable
from transforms.storage.base import Stat, check_size
from transforms.storage.s3_client import client
from transforms.storage.s3_errors import status_of
from transforms.storage.s3_keys import object_of


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
