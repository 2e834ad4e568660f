"""Turn the lines of a manifest into refs."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from transforms import member_uris
from transforms.errors import UsageError
from transforms.listing import manifests
from transforms.records import ImageRef
from transforms.storage import files, web_urls
from transforms.storage.base import Stat

_ROOT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*")  # gs://bucket


def read(manifest: Stat, uri_column: str) -> Iterator[ImageRef]:
    """Yield the images and shards that a manifest names. Relative paths start at the folder of the manifest.

    Raises:
        UsageError: The manifest lacks the column, or cannot be read to its end.
        FetchError: The manifest does not exist or cannot be read.
    """
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
        file = member_uris.file_of(name)
        uri = name
        if files.is_local(name) and not file.lower().startswith(("/", "file://")):
            uri = _below(folder, name) if file == name else member_uris.with_shard(name, _below(folder, file))
        try:
            files.check(uri)
        except UsageError as error:
            yield _fault(manifest, number, f"names {web_urls.without_login(name)[:200]!r}: {error}")
        else:
            yield ImageRef(uri)


def _below(folder: str, path: str) -> str:
    """Return a relative path as a URI without ``.`` and ``..``, which have no meaning in names on gs://."""
    if "./" not in path:
        return folder + path
    root = _ROOT.match(folder)
    start = root.end() if root else 0
    return folder[:start] + posixpath.normpath(folder[start:] + path)


def _fault(manifest: Stat, number: int, reason: str) -> ImageRef:
    return ImageRef(f"{manifest.uri}:{number}", manifest.version, None, f"line {number} {reason}")
