"""What a user names with ``--images`` -> ImageRefs: a file, a folder, a glob, or a manifest, wherever it lies."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

from transforms import manifests
from transforms.errors import FetchError, NotFound, UsageError
from transforms.records import ImageRef
from transforms.storage import files
from transforms.storage.base import Stat

CHUNK = 16_384  # refs that cross Beam as one element

# A folder holds other things too: of it, only what is named as an image is taken. A glob takes what it matches.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k"),
)

_LOOK_UPS = 32  # at once


class Chunk(NamedTuple):
    """Listed images, and how many other files of their folder were left alone."""

    refs: list[ImageRef]
    ignored: int


def check(images: Iterable[str], uri_column: str = manifests.URI_COLUMN) -> None:
    """Look at the beginning of each source. Raises UsageError for one that gives nothing, with the reason."""
    for source in images:
        ignored = 0
        try:
            for part in list_images(source, uri_column, chunk=1):
                ignored += part.ignored
                if part.refs:
                    break
            else:
                raise UsageError(f"--images {source}: {_nothing(source, ignored)}")
        except FetchError as error:
            raise UsageError(f"--images {source}: {error}") from error


def _nothing(source: str, ignored: int) -> str:
    if ignored:
        return f"none of its {ignored} files is named as an image; to take them all, give '{source.rstrip('/')}/**'"
    if manifests.kind(source):
        return "this manifest names no image"
    if files.has_magic(source):
        return "nothing matches; '*' stays within a folder, '**' goes into all below it"
    return "there is no such file, and no folder of that name that holds any"


def list_images(source: str, uri_column: str = manifests.URI_COLUMN, chunk: int = CHUNK) -> Iterator[Chunk]:
    """A source -> its images in chunks. Relative local paths are made absolute.

    Raises UsageError or FetchError where the source itself cannot be read.
    """
    refs = _refs(source, uri_column)
    while part := list(islice(refs, chunk)):
        found = [ref for ref in part if ref is not None]
        yield Chunk(found, len(part) - len(found))


def look_up(refs: list[ImageRef]) -> list[ImageRef]:
    """Give the refs that have no version the present one. One that cannot be had now is left to the fetch."""

    def version(ref: ImageRef) -> ImageRef:
        if ref.version is not None or ref.fault is not None:
            return ref
        try:
            stat = files.stat(ref.uri)
        except (FetchError, UsageError):
            return ref
        return ref._replace(version=stat.version, size=stat.size)

    with ThreadPoolExecutor(_LOOK_UPS) as pool:
        return list(pool.map(version, refs))


def _refs(source: str, uri_column: str) -> Iterator[ImageRef | None]:
    """The images of a source, and None for each file that is not taken for one."""
    uri = files.absolute(source)
    if files.has_magic(uri) and not _exists(uri):
        for stat in files.glob(uri):
            yield from _manifest(stat, uri_column) if manifests.kind(uri) else [_ref(stat)]
        return
    try:
        stat = files.stat(uri)
    except FetchError as error:
        folder = uri.rstrip("/") + "/"
        found = False
        for stat in files.walk(folder):
            found = True
            yield _ref(stat) if stat.uri.lower().endswith(IMAGE_SUFFIXES) else None
        if not found and not isinstance(error, NotFound):
            raise
    else:
        yield from _manifest(stat, uri_column) if manifests.kind(uri) else [_ref(stat)]


def _exists(uri: str) -> bool:
    """Whether a file has this name to the letter, as ``photo[1].jpg`` may."""
    try:
        files.stat(uri)
    except FetchError:
        return False
    return True


def _ref(stat: Stat) -> ImageRef:
    if manifests.is_text(stat.uri):
        return ImageRef(stat.uri, stat.version, stat.size)
    readable = stat.uri.encode("utf-8", "backslashreplace").decode()
    return ImageRef(readable, stat.version, stat.size, "its name is not UTF-8, as the tables need; rename the file")


def _manifest(manifest: Stat, uri_column: str) -> Iterator[ImageRef]:
    """The images that a manifest names. Its relative paths start from where it lies itself."""
    base = posixpath.dirname(manifest.uri)
    for line in manifests.lines(manifest.uri, uri_column):
        if line.uri is None:
            yield _fault(manifest, line.number, line.fault or "")
            continue
        try:
            relative = files.is_local(line.uri) and not line.uri.lower().startswith(("/", "file://"))
            uri = files.join(base, line.uri) if relative else line.uri
            files.check(uri)
        except UsageError as error:
            yield _fault(manifest, line.number, f"names {line.uri[:200]!r}: {error}")
        else:
            yield ImageRef(uri)


def _fault(manifest: Stat, number: int, why: str) -> ImageRef:
    return ImageRef(f"{manifest.uri}:{number}", manifest.version, None, f"line {number} {why}")
