"""Reasons why a source has no images, with what to do, for messages."""

from __future__ import annotations

import re
from pathlib import Path

from transforms import member_uris
from transforms.errors import FetchError
from transforms.listing import manifests
from transforms.storage import files, local, patterns

_BUCKET = re.compile(r"[a-z][a-z0-9+.-]*://[^/]*/*", re.IGNORECASE)

_REMEDIES = {
    "write one JSON object a line, and name the file .jsonl": (".json", ".geojson", ".ndjson"),
    "unpack it, and pass the folder of its images; .tar, .tar.gz and .zip are read as they are": (
        *(".tar.bz2", ".tar.xz", ".tar.zst", ".tbz2", ".txz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"),
    ),
    "write the URIs of the images to a .txt, one a line": (
        *(".md", ".rst", ".log", ".html", ".htm", ".xml", ".yaml", ".yml", ".toml", ".ini", ".pdf"),
        *(".doc", ".docx", ".xls", ".xlsx", ".avro", ".orc", ".arrow", ".feather", ".db", ".sqlite"),
    ),
}


def explain_kind(uri: str) -> str | None:
    """Return why a file with this name is no source. None if it can be an image, a shard or a manifest."""
    name = uri.lower()
    if manifests.kind(name) or member_uris.kind(name):
        return None
    for shown in (name.removesuffix(".gz"), name):
        for remedy, suffixes in _REMEDIES.items():
            if shown.endswith(suffixes):
                return f"{uri} is neither an image, a shard nor a manifest; {remedy}"
    return None


def explain_empty(source: str, ignored: int, *, own: bool) -> str:
    """Return why a source has no images.

    Args:
        source: The source, as it was given.
        ignored: Number of files that do not look like images.
        own: Whether the source has files that belong to the output.
    """
    uri = files.absolute(source)
    if ignored:
        return f"no file among {ignored} has an image suffix; to include all files, pass '{source.rstrip('/')}/**'"
    if own:
        return "it has only files of --output, which are never listed; choose the folder of the images"
    if patterns.has_magic(source) and not is_folder(uri):
        return "no file matches; '*' matches within a folder, '**' also in all folders below it"
    if manifests.kind(source) and _exists(uri):
        return "the manifest names no images"
    if is_folder(uri) or _is_placeholder(uri):
        return "the folder has no files; files whose names start with a dot are not listed"
    if _BUCKET.fullmatch(uri):
        return "the bucket has no files"
    if files.is_local(uri):
        return "there is no such file or folder"
    return "there is no such file, and no folder of that name with files"


def is_folder(uri: str) -> bool:
    """Return whether a URI is a local folder. Other file systems have prefixes instead of folders."""
    return files.is_local(uri) and Path(local.path_of(uri)).is_dir()


def _is_placeholder(uri: str) -> bool:
    """Return whether an empty object marks a folder, as the consoles of object stores create it."""
    return not files.is_local(uri) and not _BUCKET.fullmatch(uri) and _exists(uri.rstrip("/") + "/")


def _exists(uri: str) -> bool:
    try:
        files.stat(uri)
    except FetchError:
        return False
    return True
