"""Read, write and list files by URI on any file system.

    photos/a.jpg, /data/a.jpg, file:///data/a.jpg   a local disk
    gs://bucket/a.jpg                               Google Cloud Storage
    s3://bucket/a.jpg                               Amazon S3 and compatible servers, with beamsight[s3]
    https://host/a.jpg, http://host/a.jpg           images to read that a manifest names
    azfs://, hdfs://                                file systems of Apache Beam

``patterns`` describes the wildcards.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from typing import BinaryIO

from transforms import member_uris
from transforms.errors import Changed, NotFound, UsageError
from transforms.storage import beam_files, bucket_names, gcs, patterns, web
from transforms.storage.base import ALL_KEYS, FileSystem, KeyRange, Stat
from transforms.storage.beam_files import BeamFiles
from transforms.storage.local import LocalFiles, path_of

_WEB = web.WebFiles()
# Beam serves all other schemes. A test may add a file system of its own.
SYSTEMS: dict[str, FileSystem] = {"file": LocalFiles(), "gs": gcs.GcsObjects(), "http": _WEB, "https": _WEB}
_BEAM = BeamFiles()

_REREADS = 3  # of a file that is overwritten during the read

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def scheme(uri: str) -> str:
    """``gs://bucket/a`` -> ``gs``; a plain path -> ``file``; an image in a shard -> the scheme of the shard."""
    found = _SCHEME.match(member_uris.file_of(uri))
    return found[1].lower() if found else "file"


def is_local(uri: str) -> bool:
    """Return whether a URI is a local path, which other machines may not see."""
    return scheme(uri) == "file"


def is_web(uri: str) -> bool:
    """Return whether a URI is on http:// or https://, where files are read one by one and nothing else."""
    return scheme(uri) in ("http", "https")


def check(uri: str) -> None:
    """Raise UsageError for a URI that cannot name a file, or an image in a shard. Sends no request."""
    uri = member_uris.file_of(uri)
    _system(uri)
    in_bucket = bucket_names.require_object
    checks = {"file": path_of, "gs": in_bucket, "s3": in_bucket, "http": web.check, "https": web.check}
    checks.get(scheme(uri), beam_files.check)(uri)
    if scheme(uri) in ("gs", "s3"):
        bucket_names.check(uri)


def stat(uri: str) -> Stat:
    """Return the size and version of a file, or of the shard for an image in a shard. Raises NotFound, Unreadable."""
    return _system(uri).stat(member_uris.file_of(uri))


def exists(uri: str) -> bool:
    """Return whether a file exists. Raises Unreadable if the request fails."""
    try:
        stat(uri)
    except NotFound:
        return False
    return True


def read(
    uri: str,
    version: str | None = None,
    max_bytes: int | None = None,
    *,
    size: int | None = None,
    timeout: float | None = None,
) -> tuple[bytes, Stat]:
    """Return all bytes of a file, with their size and version; see ``FileSystem.read``. Raises FetchError.

    Without ``version``, a file that is overwritten during the read is read again.
    """
    system = _system(uri)
    for _ in range(0 if version else _REREADS):
        with suppress(Changed):
            return system.read(uri, None, max_bytes, size=size, timeout=timeout)
    return system.read(uri, version, max_bytes, size=size, timeout=timeout)


def open(uri: str, version: str | None = None) -> BinaryIO:  # noqa: A001 - read as files.open
    """Return a seekable stream of a verified file. Raises as ``open_version``."""
    return open_version(uri, version)[0]


def open_version(uri: str, version: str | None = None) -> tuple[BinaryIO, Stat]:
    """Return a seekable stream of a verified file, with its size and version; see ``FileSystem.open``.

    Without ``version``, a file that is overwritten while it is copied is copied again.

    Raises:
        Changed: The file has another version.
        NotFound: The file does not exist.
        Unreadable: Its bytes cannot be read.
        UsageError: The scheme is not supported, or the disk for temporary files is full.
    """
    system = _system(uri)
    for _ in range(0 if version else _REREADS):
        with suppress(Changed):
            return system.open(uri)
    return system.open(uri, version)


def read_end(uri: str, count: int) -> bytes:
    """Return the last bytes of a file; see ``FileSystem.read_end``. Raises NotFound, Unreadable, UsageError."""
    return _system(uri).read_end(uri, count)


def write(uri: str, data: bytes) -> None:
    """Write a file, whole or not at all. Raises UsageError, Unreadable."""
    _system(uri).write(uri, data)


def create(uri: str) -> AbstractContextManager[BinaryIO]:
    """Return a file to write to in a ``with`` block, which appears whole at its end; see ``FileSystem.create``."""
    return _system(uri).create(uri)


def delete(uri: str) -> None:
    """Delete a file if it exists."""
    _system(uri).delete(uri)


def write_if(uri: str, data: bytes, version: str | None) -> str | None:
    """Write a file if it has this version. Return the new version or None; see ``FileSystem.write_if``."""
    return _system(uri).write_if(uri, data, version)


def delete_if(uri: str, version: str) -> bool:
    """Delete a file if it has this version. Return whether it was deleted."""
    return _system(uri).delete_if(uri, version)


def has_conditions(uri: str) -> bool:
    """Return whether ``write_if`` is atomic, so that one of two concurrent calls fails."""
    return scheme(uri) in (*SYSTEMS, "s3") and not is_web(uri)


def written_at(uri: str) -> datetime:
    """Return when a file was last written, by the clock of its file system. Raises NotFound, Unreadable."""
    return _system(uri).written_at(uri)


def half_written(prefix: str, *, recursive: bool = True) -> Iterator[str]:
    """Yield incomplete files that killed processes left; see ``FileSystem.half_written``."""
    return _system(prefix).half_written(prefix, recursive=recursive)


def lists_ranges(uri: str) -> bool:
    """Return whether ``walk`` asks the server for a range of keys alone."""
    return scheme(uri) in ("gs", "s3")


def walk(prefix: str, *, recursive: bool = True, keys: KeyRange = ALL_KEYS, page: int | None = None) -> Iterator[Stat]:
    """Yield all files whose URIs start with ``prefix``, such as a folder with a slash; see ``FileSystem.walk``."""
    return _system(prefix).walk(prefix, recursive=recursive, keys=keys, page=page)


def glob(pattern: str, *, keys: KeyRange = ALL_KEYS, page: int | None = None) -> Iterator[tuple[Stat, bool]]:
    """Yield each file that starts with the literal prefix of a pattern, and whether it matches the pattern."""
    prefix = patterns.literal_prefix(pattern)
    rest = pattern[len(prefix) :]
    matches = patterns.translate(pattern).fullmatch
    for found in walk(prefix, recursive="/" in rest or "**" in rest, keys=keys, page=page):
        yield found, matches(found.uri) is not None


def join(base: str, *parts: str) -> str:
    """Join paths or URIs: ``gs://bucket/a/`` and ``b`` give ``gs://bucket/a/b``."""
    for part in parts:
        base = f"{base}/{part.lstrip('/')}" if base and not base.endswith("/") else base + part.lstrip("/")
    return base


def name(uri: str) -> str:
    """Return the name of a file or folder: ``b.jpg`` for ``gs://bucket/a/b.jpg``, ``a`` for ``gs://bucket/a/``."""
    return uri.rstrip("/").rpartition("/")[2]


def absolute(uri: str) -> str:
    """Return the absolute path of a relative path or one with ``~``. Keeps the last slash, and other URIs."""
    if (file := member_uris.file_of(uri)) != uri:
        return member_uris.with_shard(uri, absolute(file))
    if _SCHEME.match(uri) or uri.startswith("/"):
        return uri
    path = os.path.abspath(os.path.expanduser(uri))  # noqa: PTH100, PTH111 - pathlib drops what a pattern needs
    return path + "/" if uri.endswith("/") and path != "/" else path


def _system(uri: str) -> FileSystem:
    """Return the file system of a URI. Raises UsageError if there is none."""
    kind = scheme(uri)
    if (system := SYSTEMS.get(kind)) is not None:
        return system
    if kind == "s3":  # imported by its first use
        return _s3(uri)
    known = sorted(SYSTEMS.keys() | beam_files.schemes())
    if kind not in known:
        raise UsageError(f"{uri}: {kind}:// is not supported; use a local path, {', '.join(f'{k}://' for k in known)}")
    return _BEAM


def _s3(uri: str) -> FileSystem:
    """Return the file system of s3://. Raises UsageError if its client is not installed."""
    try:
        from transforms.storage.s3 import S3Objects
    except ImportError as exc:
        raise UsageError(f"{uri} needs the package botocore: pip install 'beamsight[s3]'") from exc
    return SYSTEMS.setdefault("s3", S3Objects())
