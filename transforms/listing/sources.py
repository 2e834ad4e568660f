"""List the images of a source: a file, folder, glob or manifest on any file system."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from typing import NamedTuple

from transforms import defaults
from transforms.errors import FetchError, Unreadable, UsageError
from transforms.listing import explain, left_out, manifests
from transforms.records import ImageRef
from transforms.storage import files, web, web_access, web_urls
from transforms.storage.base import ALL_KEYS, KeyRange, Stat
from transforms.storage.web_access import Access

CHUNK = 16_384  # refs in one element of a PCollection

# Folders contain other files too, so only files with these suffixes are listed. A glob lists all files that match.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k"),
)

_BEGINNING = 1_000  # files of a source that a check looks at: one small response of gs:// or s3://
_LOOK_UPS = 32  # concurrent requests

_MORE = object()  # after the last file within a limit

_ROOT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*")  # gs://bucket


class Chunk(NamedTuple):
    """Listed images, and the number of other files in their folder. more: The listing stopped at its limit."""

    refs: list[ImageRef]
    ignored: int
    more: bool = False


def check(images: Iterable[str], uri_column: str = defaults.URI_COLUMN, leave_out: Sequence[str] = ()) -> None:
    """Look at the beginning of each source. One response of a bucket decides: images may follow after the files in it.

    ``leave_out`` as for ``list_images``.

    Raises:
        UsageError: A source has no images or cannot be read. The message gives the reason.
    """
    for source in images:
        try:
            limit = _BEGINNING if files.lists_ranges(source) else None
            reason = explain_empty(source, uri_column, leave_out, limit)
        except FetchError as error:
            raise UsageError(f"--images {source}: {error}") from error
        if reason is not None:
            raise UsageError(f"--images {source}: {reason}")


def explain_empty(
    source: str, uri_column: str = defaults.URI_COLUMN, leave_out: Sequence[str] = (), limit: int | None = None
) -> str | None:
    """Return why a source has no images. None as soon as one is found. Raises as ``list_images``.

    Args:
        source: A file, folder, glob or manifest.
        uri_column: The column of a manifest that has the URIs.
        leave_out: As for ``list_images``.
        limit: Return None too if there is no image among this many files at the beginning.
    """
    if not source.strip():
        raise UsageError(f"--images {source!r} is empty; check the shell variable that it comes from")
    found = ignored = 0
    to_its_end = source.lower().endswith(".gz")  # only the end shows whether it is truncated
    for part in list_images(source, uri_column, leave_out, chunk=CHUNK if to_its_end else 1, limit=limit):
        found += len(part.refs)
        ignored += part.ignored
        if part.more or (found and not to_its_end):
            return None
    if found:
        return None
    own = bool(leave_out) and any(True for _ in list_images(source, uri_column, chunk=1))
    return explain.explain_empty(source, ignored, own=own)


def list_images(
    source: str,
    uri_column: str = defaults.URI_COLUMN,
    leave_out: Sequence[str] = (),
    chunk: int = CHUNK,
    keys: KeyRange = ALL_KEYS,
    limit: int | None = None,
) -> Iterator[Chunk]:
    """Yield the images of a source in chunks. Relative local paths become absolute.

    Folders and globs on a disk, on gs:// and on s3:// are listed in the order of the URIs.

    Args:
        source: A file, folder, glob or manifest.
        uri_column: The column of a manifest that has the URIs.
        leave_out: Files, and folders with a slash at the end, that are not listed as images: those of the output.
            Manifests among them are read, and so is what a manifest names.
        chunk: Maximum number of files in a chunk.
        keys: The part of a folder or glob to list, from ``ranges.split``.
        limit: Stop after this many files of a folder or glob, whether they are images or not.

    Raises:
        UsageError: The source is invalid, for example a manifest without the column.
        FetchError: The source cannot be read.
    """
    refs = _refs(source, uri_column, left_out.matcher(leave_out), keys, limit)
    while part := list(islice(refs, chunk)):
        more = part[-1] is _MORE
        found = [ref for ref in part if isinstance(ref, ImageRef)]
        yield Chunk(found, len(part) - len(found) - more, more)


def may_overlap(images: Sequence[str]) -> bool:
    """Return whether two sources, or one manifest, may name an image twice. Sends no request."""
    if any(manifests.kind(source) for source in images):
        return True
    prefixes = sorted(files.literal_prefix(files.absolute(source)) for source in images)
    return any(after.startswith(before) for before, after in pairwise(prefixes))


def look_up(refs: list[ImageRef], access: Access | None = None) -> list[ImageRef]:
    """Fill in the current version of refs that have none. A ref without a version stays as it is after an error.

    Args:
        refs: Listed images.
        access: Which hosts of https:// may be asked. None for public hosts.
    """

    def with_version(ref: ImageRef) -> ImageRef:
        try:
            with web_access.using(access or Access()):
                stat = files.stat(ref.uri)
        except (FetchError, UsageError):
            return ref
        return ref._replace(version=stat.version, size=stat.size)

    with ThreadPoolExecutor(_LOOK_UPS) as pool:
        found = pool.map(with_version, [ref for ref in refs if _lacks_version(ref)])
        return [next(found) if _lacks_version(ref) else ref for ref in refs]


def _lacks_version(ref: ImageRef) -> bool:
    return ref.version is None and ref.fault is None


def _refs(
    source: str, uri_column: str, is_left_out: Callable[[str], bool], keys: KeyRange, limit: int | None
) -> Iterator[ImageRef | object | None]:
    """Yield the images of a source, None for each other file in a folder, and ``_MORE`` at the limit."""
    uri = files.absolute(source)
    if files.is_web(uri):
        web.refuse_source(uri)
    refusal = explain.explain_kind(uri)
    unreadable = None
    # A slash marks a folder, also if an empty object has this name. A range is part of a folder or glob.
    if keys == ALL_KEYS and not uri.endswith("/"):
        try:
            named = files.stat(uri)  # the literal name is tried first, because photo[1].jpg may be a name
        except Unreadable as error:
            unreadable = error
        except (FetchError, UsageError):
            pass  # it may be a folder in a bucket, a bucket, a pattern, or missing
        else:
            if refusal:
                raise UsageError(refusal)
            yield from _manifest(named, uri_column) if manifests.kind(uri) else [_ref(named)]
            return
    if files.has_magic(uri) and not explain.is_folder(uri):
        if refusal:
            raise UsageError(refusal)
        for number, (stat, matches) in enumerate(files.glob(uri, keys=keys, page=limit), 1):
            if matches and manifests.kind(uri):  # the pattern decides: **.csv lists manifests, ** does not
                yield from _manifest(stat, uri_column)
            elif matches and not is_left_out(stat.uri):
                yield _ref(stat)
            if number == limit:
                yield _MORE
                return
        return
    number = 0
    for number, stat in enumerate(files.walk(as_folder(uri), keys=keys, page=limit), 1):
        if not is_left_out(stat.uri):
            yield _ref(stat) if stat.uri.lower().endswith(IMAGE_SUFFIXES) else None
        if number == limit:
            yield _MORE
            return
    if unreadable is not None and not number and not explain.is_folder(uri):
        raise unreadable


def as_folder(uri: str) -> str:
    """Return the URI of a folder with a slash at its end."""
    return uri if uri.endswith("/") else uri + "/"


def _ref(stat: Stat) -> ImageRef:
    if manifests.is_text(stat.uri):
        return ImageRef(stat.uri, stat.version, stat.size)
    readable = stat.uri.encode("utf-8", "backslashreplace").decode()
    return ImageRef(
        readable, stat.version, stat.size, "the file name is not UTF-8, which the tables need; rename the file"
    )


def _manifest(manifest: Stat, uri_column: str) -> Iterator[ImageRef]:
    """Yield the images that a manifest names. Relative paths start at the folder of the manifest."""
    if not manifests.is_text(manifest.uri):
        readable = manifest.uri.encode("utf-8", "backslashreplace").decode()
        raise UsageError(
            f"the name of the manifest {readable} is not UTF-8, which the tables need; rename the manifest"
        )
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
            yield _fault(manifest, number, f"names {web_urls.without_login(name)[:200]!r}: {error}")
        else:
            yield ImageRef(uri)


def _below(folder: str, path: str) -> str:
    """Return a relative path as a URI without ``.`` and ``..``, which have no meaning in names of objects."""
    if "./" not in path:
        return folder + path
    root = _ROOT.match(folder)
    start = root.end() if root else 0
    return folder[:start] + posixpath.normpath(folder[start:] + path)


def _fault(manifest: Stat, number: int, reason: str) -> ImageRef:
    return ImageRef(f"{manifest.uri}:{number}", manifest.version, None, f"line {number} {reason}")
