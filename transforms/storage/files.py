"""The one way to files: by URI, whichever file system it is on.

    photos/a.jpg, /data/a.jpg, file:///data/a.jpg   a disk
    gs://bucket/a.jpg                               Google Cloud Storage
    s3://, azfs://, hdfs://                         what Apache Beam has a file system for

Wildcards: ``*``, ``?`` and ``[a-z]`` stay within a folder, ``**`` crosses any number of them, also none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import BinaryIO

from transforms.errors import Changed, NotFound, UsageError
from transforms.storage import beam_files, gcs
from transforms.storage.base import FileSystem, Stat
from transforms.storage.beam_files import BeamFiles
from transforms.storage.local import LocalFiles, path_of

# What is not here goes to Beam. A test may put a file system of its own in.
SYSTEMS: dict[str, FileSystem] = {"file": LocalFiles(), "gs": gcs.GcsObjects()}
_BEAM = BeamFiles()

_AGAIN = 3  # times to read what is overwritten meanwhile

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_MAGIC = re.compile(r"[*?[]")
_TOKEN = re.compile(
    r"""(?P<folders> (?<![^/]) \*\*+ / )  # a whole segment
      | (?P<all> \*\*+ ) | (?P<some> \* ) | (?P<one> \? )
      | \[ (?P<negated> [!^] )? (?P<set> \][^]]* | [^]]+ ) \]
      | .""",
    re.DOTALL | re.VERBOSE,
)
_SPECIAL, _BACKSLASH = re.compile(r"[][\\&~|^]"), r"\\\g<0>"  # what would mean something inside a set


def scheme(uri: str) -> str:
    """``gs://bucket/a`` -> ``gs``; a plain path -> ``file``."""
    found = _SCHEME.match(uri)
    return found[1].lower() if found else "file"


def is_local(uri: str) -> bool:
    """Whether a URI is a path on this machine, which other machines may not see."""
    return scheme(uri) == "file"


def check(uri: str) -> None:
    """Raise UsageError for a URI that can name no file here. Asks no server, and not whether it is there."""
    _system(uri)
    {"file": path_of, "gs": gcs.check}.get(scheme(uri), beam_files.check)(uri)


def stat(uri: str) -> Stat:
    """URI -> its size and version. Raises NotFound, Unreadable."""
    return _system(uri).stat(uri)


def exists(uri: str) -> bool:
    """Whether there is a file. Raises Unreadable where that cannot be told."""
    try:
        stat(uri)
    except NotFound:
        return False
    return True


def read(
    uri: str, version: str | None = None, max_bytes: int | None = None, *, size: int | None = None
) -> tuple[bytes, Stat]:
    """URI -> all its bytes and what was read; see ``FileSystem.read``. Raises FetchError.

    Without ``version``, one that is overwritten while it is read is read again: what is newest then will do.
    """
    system = _system(uri)
    for _ in range(0 if version else _AGAIN):
        with suppress(Changed):
            return system.read(uri, None, max_bytes, size=size)
    return system.read(uri, version, max_bytes, size=size)


def open(uri: str) -> BinaryIO:  # noqa: A001 - read as files.open
    """URI -> a binary stream. Raises NotFound, Unreadable."""
    return _system(uri).open(uri)


def write(uri: str, data: bytes) -> None:
    """Put ``data`` at ``uri``, whole or not at all. Raises UsageError, Unreadable."""
    _system(uri).write(uri, data)


def delete(uri: str) -> None:
    """Remove ``uri``, if it is there."""
    _system(uri).delete(uri)


def write_if(uri: str, data: bytes, version: str | None) -> str | None:
    """Write over this version alone -> the new one, or None; see ``FileSystem.write_if``."""
    return _system(uri).write_if(uri, data, version)


def delete_if(uri: str, version: str) -> bool:
    """Remove ``uri`` if it has this version still -> whether it was removed."""
    return _system(uri).delete_if(uri, version)


def has_conditions(uri: str) -> bool:
    """Whether ``write_if`` is one step there, so that of two who try at once one fails."""
    return scheme(uri) in SYSTEMS


def written_at(uri: str) -> datetime:
    """When ``uri`` was last written, by the clock of where it lies. Raises NotFound, Unreadable."""
    return _system(uri).written_at(uri)


def half_written(prefix: str, *, recursive: bool = True) -> Iterator[str]:
    """What killed processes left of files they were writing; see ``FileSystem.half_written``."""
    return _system(prefix).half_written(prefix, recursive=recursive)


def walk(prefix: str, *, recursive: bool = True) -> Iterator[Stat]:
    """All files below the folder ``prefix``, which ends in ``/``; see ``FileSystem.walk``."""
    return _system(prefix).walk(prefix, recursive=recursive)


def glob(pattern: str) -> Iterator[Stat]:
    """All files that match, in any order; without wildcards, the file of that name if there is one."""
    magic = _MAGIC.search(pattern)
    if magic is None:
        try:
            yield stat(pattern)
        except NotFound:
            return
    else:
        folder = pattern[: pattern.rfind("/", 0, magic.start()) + 1]
        rest = pattern[len(folder) :]
        matches = translate(pattern).fullmatch
        for found in walk(folder, recursive="/" in rest or "**" in rest):
            if matches(found.uri):
                yield found


def has_magic(uri: str) -> bool:
    """Whether a URI holds a wildcard."""
    return _MAGIC.search(uri) is not None


def translate(pattern: str) -> re.Pattern[str]:
    """Wildcards -> a regular expression for the whole URI. Raises UsageError for a range such as ``[z-a]``.

    ``[!ab]`` and ``[^ab]`` are any but these; ``[[]`` is the bracket itself.
    """
    expression = "".join(_translated(token) for token in _TOKEN.finditer(pattern))
    try:
        return re.compile(expression, re.DOTALL)
    except re.error as exc:
        raise UsageError(f"{pattern} is no pattern: {exc.msg}") from exc


def join(base: str, *parts: str) -> str:
    """``gs://bucket/a/``, ``b`` -> ``gs://bucket/a/b``, for paths and URIs alike."""
    for part in parts:
        base = f"{base}/{part.lstrip('/')}" if base and not base.endswith("/") else base + part.lstrip("/")
    return base


def name(uri: str) -> str:
    """``gs://bucket/a/b.jpg`` -> ``b.jpg``; of a folder, with or without its last slash, its own name."""
    return uri.rstrip("/").rpartition("/")[2]


def absolute(uri: str) -> str:
    """A relative path, or one from ``~`` -> the same from the root, with its last slash. Other URIs stay."""
    if _SCHEME.match(uri) or uri.startswith("/"):
        return uri
    path = os.path.abspath(os.path.expanduser(uri))  # noqa: PTH100, PTH111 - pathlib drops what a pattern needs
    return path + "/" if uri.endswith("/") and path != "/" else path


def _translated(token: re.Match[str]) -> str:
    match token.lastgroup:
        case "folders":
            return "(?:.*/)?"
        case "all":
            return ".*"
        case "some":
            return "[^/]*"
        case "one":
            return "[^/]"
        case "set":
            negated = "^" if token["negated"] else ""
            return f"(?!/)[{negated}{_SPECIAL.sub(_BACKSLASH, token['set'])}]"
        case _:
            return re.escape(token[0])


def _system(uri: str) -> FileSystem:
    """The file system of a URI. Raises UsageError when there is none."""
    kind = scheme(uri)
    if (system := SYSTEMS.get(kind)) is not None:
        return system
    if kind in ("http", "https"):
        raise UsageError(f"{uri}: the web is not read from; download the files first, or copy them to a bucket")
    known = sorted(SYSTEMS.keys() | beam_files.schemes())
    if kind not in known:
        raise UsageError(f"{uri}: {kind}:// cannot be read; what can: paths, {', '.join(f'{k}://' for k in known)}")
    return _BEAM
