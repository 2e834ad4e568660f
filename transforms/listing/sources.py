"""List the images and shards of a source: a file, folder, glob or manifest on any file system."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from typing import NamedTuple

from transforms import defaults, member_uris
from transforms.errors import FetchError, Unreadable, UsageError
from transforms.listing import explain, left_out, manifest_refs, manifests
from transforms.listing.parquet_kinds import ParquetKinds
from transforms.records import ImageRef
from transforms.storage import files, patterns, web, web_access
from transforms.storage.base import ALL_KEYS, KeyRange, Stat
from transforms.storage.web_access import Access

CHUNK = 16_384  # refs in one element of a PCollection

_BEGINNING = 1_000  # files of a source that a check looks at: one small response of gs:// or s3://
_LOOK_UPS = 32  # concurrent requests

_MORE = object()  # after the last file within a limit


class Chunk(NamedTuple):
    """Listed images, and the number of other files in their folder. more: The listing stopped at its limit."""

    refs: list[ImageRef]
    ignored: int
    more: bool = False


def check(
    images: Iterable[str],
    uri_column: str = defaults.URI_COLUMN,
    leave_out: Sequence[str] = (),
    image_column: str | None = None,
) -> None:
    """Look at the beginning of each source. One response of a bucket decides: images may follow after the files in it.

    The arguments are those of ``list_images``.

    Raises:
        UsageError: A source has no images or cannot be read. The message gives the reason.
    """
    for source in images:
        try:
            limit = _BEGINNING if files.lists_ranges(source) else None
            reason = explain_empty(source, uri_column, leave_out, limit, image_column)
        except FetchError as error:
            raise UsageError(f"--images {source}: {error}") from error
        if reason is not None:
            raise UsageError(f"--images {source}: {reason}")


def explain_empty(
    source: str,
    uri_column: str = defaults.URI_COLUMN,
    leave_out: Sequence[str] = (),
    limit: int | None = None,
    image_column: str | None = None,
) -> str | None:
    """Return why a source has no images. None as soon as one, or a shard, is found. Raises as ``list_images``.

    Args:
        source: A file, folder, glob or manifest.
        uri_column: The column of a manifest that has the URIs.
        leave_out: As for ``list_images``.
        limit: Return None too if there is no image among this many files at the beginning.
        image_column: As for ``list_images``.
    """
    if not source.strip():
        raise UsageError(f"--images {source!r} is empty; check the shell variable that it comes from")
    found = ignored = 0
    to_its_end = source.lower().endswith(".gz")  # only the end shows whether it is truncated
    parts = list_images(
        source, uri_column, leave_out, chunk=CHUNK if to_its_end else 1, limit=limit, image_column=image_column
    )
    for part in parts:
        found += len(part.refs)
        ignored += part.ignored
        if part.more or (found and not to_its_end):
            return None
    if found:
        return None
    own = bool(leave_out) and any(True for _ in list_images(source, uri_column, chunk=1, image_column=image_column))
    return explain.explain_empty(source, ignored, own=own)


def list_images(
    source: str,
    uri_column: str = defaults.URI_COLUMN,
    leave_out: Sequence[str] = (),
    chunk: int = CHUNK,
    keys: KeyRange = ALL_KEYS,
    limit: int | None = None,
    image_column: str | None = None,
) -> Iterator[Chunk]:
    """Yield the images and shards of a source in chunks. Relative local paths become absolute.

    Folders and globs on a disk, on gs:// and on s3:// are listed in the order of the URIs.

    Args:
        source: A file, folder, glob or manifest.
        uri_column: The column of a manifest that has the URIs.
        leave_out: Files, and folders with a slash at the end, that are not listed as images: those of the output.
            Manifests among them are read, and so is what a manifest names.
        chunk: Maximum number of files in a chunk.
        keys: The part of a folder or glob to list, from ``ranges.split``.
        limit: Stop after this many files of a folder or glob, whether they are images or not.
        image_column: The column of Parquet files with the bytes of images. None for the only such column.

    Raises:
        UsageError: The source is invalid, for example a manifest without the column.
        FetchError: The source cannot be read.
    """
    parquets = ParquetKinds(uri_column, image_column)
    refs = _refs(source, uri_column, left_out.matcher(leave_out), keys, limit, parquets)
    while part := list(islice(refs, chunk)):
        more = part[-1] is _MORE
        found = [ref for ref in part if isinstance(ref, ImageRef)]
        yield Chunk(found, len(part) - len(found) - more, more)


def may_overlap(images: Sequence[str]) -> bool:
    """Return whether two sources, or one manifest, may name an image twice. Sends no request."""
    if any(manifests.kind(source) for source in images):
        return True
    prefixes = sorted(patterns.literal_prefix(files.absolute(source)) for source in images)
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
    source: str,
    uri_column: str,
    is_left_out: Callable[[str], bool],
    keys: KeyRange,
    limit: int | None,
    parquets: ParquetKinds,
) -> Iterator[ImageRef | object | None]:
    """Yield the images and shards of a source, None for each other file in a folder, and ``_MORE`` at the limit."""
    uri = files.absolute(source)
    if member_uris.split(uri) is not None:
        yield ImageRef(uri, files.stat(uri).version)
        return

    def is_manifest(stat: Stat) -> bool:
        is_parquet = member_uris.kind(stat.uri) == "parquet"
        return bool(manifests.kind(stat.uri)) and not (is_parquet and parquets.is_shard(stat.uri, in_folder=False))

    def is_listed(uri: str) -> bool:
        if uri.lower().endswith(defaults.IMAGE_SUFFIXES):
            return True
        kind = member_uris.kind(uri)
        return kind is not None and (kind != "parquet" or parquets.is_shard(uri, in_folder=True))

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
            yield from manifest_refs.read(named, uri_column) if is_manifest(named) else [_ref(named)]
            return
    if patterns.has_magic(uri) and not explain.is_folder(uri):
        if refusal:
            raise UsageError(refusal)
        for number, (stat, matches) in enumerate(files.glob(uri, keys=keys, page=limit), 1):
            # The pattern decides: **.csv lists manifests, ** does not.
            if matches and manifests.kind(uri) and is_manifest(stat):
                yield from manifest_refs.read(stat, uri_column)
            elif matches and not is_left_out(stat.uri):
                yield _ref(stat)
            if number == limit:
                yield _MORE
                return
        return
    number = 0
    for number, stat in enumerate(files.walk(as_folder(uri), keys=keys, page=limit), 1):
        if not is_left_out(stat.uri):
            yield _ref(stat) if is_listed(stat.uri) else None
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
