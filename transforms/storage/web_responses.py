"""What a response of http:// or https:// says: its version, its robots tags, its waiting time, and its body."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from transforms.errors import TooManyBytes, Unreadable
from transforms.storage import gcs_content
from transforms.storage.base import Stat

AGENT = "beamsight"

# As img2dataset has them, and ``none``, which stands for noindex and nofollow.
_DISALLOWED = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
# Directives with a colon of their own. Another name before a colon is that of a robot.
_WITH_VALUES = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})

_PIECE = 64 << 10  # bytes
_DRAINED = 64 << 10  # bytes of a body that nobody needs, after which the connection is closed instead
_LONGEST_TAG = 200  # characters of an ETag that is kept as it is


def versions(response: BaseHTTPResponse) -> list[str]:
    """Return the versions that a response gives, the best one first: a strong ETag, Last-Modified, a weak ETag."""
    tag = response.headers.get("ETag", "").strip()
    weak = tag.startswith("W/")
    opaque = tag.removeprefix("W/").strip('"')
    if len(opaque) > _LONGEST_TAG or not opaque.isprintable():
        opaque = f"sha256-{hashlib.sha256(opaque.encode('utf-8', 'replace')).hexdigest()[:16]}"
    modified = _date(response.headers.get("Last-Modified", ""))
    found = [
        opaque if opaque and not weak else "",
        f"{modified:%Y-%m-%dT%H:%M:%SZ}" if modified else "",
        f"W/{opaque}" if opaque and weak else "",
    ]
    return [version for version in found if version]


def version_of_bytes(data: bytes) -> str:
    """Return the version of an image whose server gives none."""
    return f"sha256-{hashlib.sha256(data).hexdigest()[:16]}"


def disallowed(response: BaseHTTPResponse) -> str | None:
    """Return the directive of ``X-Robots-Tag`` that forbids the use of the image. None if there is none.

    A directive for another robot, as in ``otherbot: noai``, does not count.
    """
    for line in response.headers.getlist("X-Robots-Tag"):
        agent = AGENT
        for part in line.lower().split(","):
            name, colon, value = part.partition(":")
            directive = name.strip()
            if colon and directive not in _WITH_VALUES:
                agent, directive = directive, value.strip()
            if agent in (AGENT, "*") and directive in _DISALLOWED:
                return directive
    return None


def retry_after(response: BaseHTTPResponse) -> float | None:
    """Return the seconds that the server asks to wait, given as a number or as a date. None if it does not."""
    text = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    date = _date(text)
    return max(0.0, (date - datetime.now(timezone.utc)).total_seconds()) if date else None


def stored_size(response: BaseHTTPResponse) -> int:
    """Return the size of the file. 0 if the response does not give it."""
    total = re.fullmatch(r"bytes .*/(\d{1,18})", response.headers.get("Content-Range", ""))
    length = re.fullmatch(r"\d{1,18}", response.headers.get("Content-Length", ""))
    return int(total[1]) if total else int(length[0]) if length and response.status == 200 else 0


def read_body(response: BaseHTTPResponse, uri: str, max_bytes: int | None) -> bytes:
    """Return the body, which is decoded if it is encoded with gzip, although beamsight does not ask for this.

    Args:
        response: A response whose body was not read yet.
        uri: The image.
        max_bytes: Maximum size of the body as it arrives, and after it is decoded.

    Raises:
        TooManyBytes: There are more bytes. No more than these were read, whatever the headers say.
        Unreadable: The encoding is not supported.
        urllib3.exceptions.HTTPError: The body is shorter than the headers say, or does not arrive.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise Unreadable(f"{uri}: the Content-Encoding {encoding[:40]!r} was not asked for and is not supported")
    limit = math.inf if max_bytes is None else max_bytes
    size = stored_size(response)
    if size > limit:
        raise TooManyBytes(f"{uri} has {size:,} bytes, more than --max-bytes {max_bytes:,}")
    data = bytearray()
    for piece in _pieces(response):
        data += piece
        if len(data) > limit:
            raise TooManyBytes(f"{uri} has more than --max-bytes {max_bytes:,}")
    body = bytes(data)
    return gcs_content.gunzip(body, Stat(uri, len(body), ""), max_bytes) if "gzip" in encoding else body


def _pieces(response: BaseHTTPResponse) -> Iterator[bytes]:
    yield from response.stream(_PIECE, decode_content=False)


def drain(response: BaseHTTPResponse) -> None:
    """Read the rest of a short body, so that its connection can be used again. Close the connection otherwise."""
    try:
        rest = 0
        for piece in _pieces(response):
            rest += len(piece)
            if rest > _DRAINED:
                break
        else:
            response.release_conn()
            return
    except (HTTPError, HTTPException, OSError):
        pass  # nobody needs the body
    response.close()


def _date(text: str) -> datetime | None:
    try:
        date: Any = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return date.astimezone(timezone.utc) if date.tzinfo else date.replace(tzinfo=timezone.utc)
