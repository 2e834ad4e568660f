"""What a user names with ``--images`` -> ImageRefs: a file, a folder, a glob, or a manifest, wherever it lies."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from transforms import defaults
from transforms.errors import FetchError, Unreadable, UsageError
from transforms.listing import manifests
from transforms.records import ImageRef
from transforms.storage import files, local
from transforms.storage.base import Stat

CHUNK = 16_384  # refs that cross Beam as one element

# A folder holds other things too: of it, only what is named as an image is taken. A glob takes what it matches.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k"),
)

_LOOK_UPS = 32  # at once

_ROOT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*")  # gs://bucket


class Chunk(NamedTuple):
    """Listed images, and how many other files of their folder were left alone."""

    refs: list[ImageRef]
    ignored: int


def check(images: Iterable[str], uri_column: str = defaults.URI_COLUMN) -> None:
    """Look at the beginning of each source. Raises UsageError for one that gives nothing, with the reason."""
    for source in images:
        try:
            why = explain_empty(source, uri_column)
        except FetchError as error:
            raise UsageError(f"--images {source}: {error}") from error
        if why is not None:
            raise UsageError(f"--images {source}: {why}")


def explain_empty(source: str, uri_column: str = defaults.URI_COLUMN) -> str | None:
    """Why a source gives no image, from a look at its beginning; None where it gives one. Raises as ``list_images``."""
    if not source.strip():
        raise UsageError(f"--images {source!r} names nothing: is a variable of the shell empty?")
    found = ignored = 0
    to_its_end = source.lower().endswith(".gz")  # it may be cut off, and only its end tells
    for part in list_images(source, uri_column, chunk=CHUNK if to_its_end else 1):
        found += len(part.refs)
        ignored += part.ignored
        if found and not to_its_end:
            break
    return None if found else _explain_empty(source, ignored)


def _explain_empty(source: str, ignored: int) -> str:
    if ignored:
        return f"none of its {ignored} files is named as an image; to take them all, give '{source.rstrip('/')}/**'"
    if files.has_magic(source):
        return "nothing matches; '*' stays within a folder, '**' goes into all below it"
    if manifests.kind(source) and _exists(files.absolute(source)):
        return "this manifest names no image"
    return "there is no such file, and no folder of that name that holds any"


def list_images(source: str, uri_column: str = defaults.URI_COLUMN, chunk: int = CHUNK) -> Iterator[Chunk]:
    """A source -> its images in chunks. Relative local paths are made absolute.

    Raises UsageError or FetchError where the source itself cannot be read.
    """
    refs = _refs(source, uri_column)
    while part := list(islice(refs, chunk)):
        found = [ref for ref in part if ref is not None]
        yield Chunk(found, len(part) - len(found))


def look_up(refs: list[ImageRef]) -> list[ImageRef]:
    """Give the refs that have no version the present one. One that cannot be had now is left to the fetch."""

    def present(ref: ImageRef) -> ImageRef:
        try:
            stat = files.stat(ref.uri)
        except (FetchError, UsageError):
            return ref
        return ref._replace(version=stat.version, size=stat.size)

    with ThreadPoolExecutor(_LOOK_UPS) as pool:
        found = pool.map(present, [ref for ref in refs if _lacks_version(ref)])
        return [next(found) if _lacks_version(ref) else ref for ref in refs]


def _lacks_version(ref: ImageRef) -> bool:
    return ref.version is None and ref.fault is None


def _refs(source: str, uri_column: str) -> Iterator[ImageRef | None]:
    """The images of a source, and None for each file that is not taken for one."""
    uri = files.absolute(source)
    unreadable = None
    if not uri.endswith("/"):  # which is a folder, also where an empty object of that name marks it on gs://
        try:
            named = files.stat(uri)  # first to the letter: a name such as photo[1].jpg is no pattern
        except Unreadable as error:
            unreadable = error
        except (FetchError, UsageError):
            pass  # a folder on gs://, a whole bucket, a pattern, or nothing
        else:
            yield from _manifest(named, uri_column) if manifests.kind(uri) else [_ref(named)]
            return
    if files.has_magic(uri) and not _is_folder(uri):
        for stat in files.glob(uri):  # **.csv names manifests; what a ** finds besides images does not become one
            yield from _manifest(stat, uri_column) if manifests.kind(uri) else [_ref(stat)]
        return
    found = False
    for stat in files.walk(uri if uri.endswith("/") else uri + "/"):
        found = True
        yield _ref(stat) if stat.uri.lower().endswith(IMAGE_SUFFIXES) else None
    if unreadable is not None and not found and not _is_folder(uri):
        raise unreadable


def _exists(uri: str) -> bool:
    try:
        files.stat(uri)
    except FetchError:
        return False
    return True


def _is_folder(uri: str) -> bool:
    """Whether it is a folder on this disk. Elsewhere there are no folders, only names that begin alike."""
    return files.is_local(uri) and Path(local.path_of(uri)).is_dir()


def _ref(stat: Stat) -> ImageRef:
    if manifests.is_text(stat.uri):
        return ImageRef(stat.uri, stat.version, stat.size)
    readable = stat.uri.encode("utf-8", "backslashreplace").decode()
    return ImageRef(readable, stat.version, stat.size, "its name is not UTF-8, as the tables need; rename the file")


def _manifest(manifest: Stat, uri_column: str) -> Iterator[ImageRef]:
    """The images that a manifest names. Its relative paths start from where it lies itself."""
    if not manifests.is_text(manifest.uri):
        readable = manifest.uri.encode("utf-8", "backslashreplace").decode()
        raise UsageError(f"the name of the manifest {readable} is not UTF-8, as the tables need; rename it")
    folder = manifest.uri[: manifest.uri.rfind("/") + 1]
    for number, name, fault in manifests.lines(manifest.uri, uri_column):
        if name is None:
            yield _fault(manifest, number, fault or "")
            continue
        relative = files.is_local(name) and not name.lower().startswith(("/", "file://"))
        uri = _below(folder, name) if relative else name
        try:
            files.check(uri)
        except UsageError as error:
            yield _fault(manifest, number, f"names {name[:200]!r}: {error}")
        else:
            yield ImageRef(uri)


def _below(folder: str, path: str) -> str:
    """A relative path -> the same from the root, without ``.`` and ``..``, which objects on gs:// know nothing of."""
    if "./" not in path:
        return folder + path
    root = _ROOT.match(folder)
    start = root.end() if root else 0
    return folder[:start] + posixpath.normpath(folder[start:] + path)


def _fault(manifest: Stat, number: int, why: str) -> ImageRef:
    return ImageRef(f"{manifest.uri}:{number}", manifest.version, None, f"line {number} {why}")
