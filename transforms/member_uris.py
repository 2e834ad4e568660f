"""The URIs of images inside shards, which are files that hold many images.

    tar://a/0001.jpg::gs://bucket/shard-000.tar         a member of a tar, as fsspec writes it
    zip://a/0001.jpg::gs://bucket/shard-000.zip         a member of a zip
    gs://bucket/part-000.parquet#row=17                 a row of a Parquet file, from 0
    gs://bucket/part-000.tfrecord#record=17             a record of a TFRecord file, from 0

The first two are chained URIs of fsspec, which opens them.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Kind = Literal["tar", "zip", "parquet", "tfrecord"]

SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "tar": (".tar", ".tar.gz", ".tgz"),
    "zip": (".zip",),
    "parquet": (".parquet",),
    "tfrecord": (".tfrecord", ".tfrecords", ".tfrecord.gz", ".tfrecords.gz"),
}

_IMAGES = frozenset({".jpg", ".JPG", "jpeg", "JPEG", ".png", "webp"})  # a shortcut for millions of names
_ENDINGS = tuple({suffix[suffix.rfind(".") :] for suffixes in SUFFIXES.values() for suffix in suffixes})

_PART = re.compile(r".*[^/]-\d{5}-of-\d{5}(\.gz)?", re.DOTALL)  # the names that TensorFlow gives to shards
_CHAINED = re.compile(r"(tar|zip)://(.*)::(.+)", re.DOTALL)
_NUMBERED = re.compile(r"(.+)#(row|record)=(\d+)", re.DOTALL)
_SORTED = re.compile(r"(.+)::(tar|zip)://(.*)", re.DOTALL)


class MemberUri(NamedTuple):
    """The parts of the URI of an image in a shard. The name of a row or a record is its number."""

    shard: str
    name: str


def kind(uri: str) -> Kind | None:
    """Return the kind of a shard by the name of its file. None for other files, and for images in shards."""
    if uri[-4:] in _IMAGES:
        return None
    if uri[-1:].isdigit():
        return "tfrecord" if _PART.fullmatch(uri) and split(uri) is None else None
    name = uri[uri.rfind("/") + 1 :].lower()
    if not name.endswith(_ENDINGS) or split(uri) is not None:
        return None
    found = (kind_ for kind_, suffixes in SUFFIXES.items() if name.endswith(suffixes))
    return next(found, "tfrecord" if _PART.fullmatch(name) else None)


def join(kind_: Kind, shard: str, name: str) -> str:
    """Return the URI of a member of a shard. ``name`` is a path in a tar or zip, else a number."""
    if kind_ in ("tar", "zip"):
        return f"{kind_}://{name}::{shard}"
    return f"{shard}#{'row' if kind_ == 'parquet' else 'record'}={name}"


def split(uri: str) -> MemberUri | None:
    """Return the shard and the name of a member. None for the URI of a file.

    The name of a file may contain ``#row=1``, so this counts only after the name of a shard.
    """
    if "#" not in uri and "::" not in uri:
        return None
    if chained := _CHAINED.fullmatch(uri):
        return MemberUri(chained[3], chained[2])
    numbered = _NUMBERED.fullmatch(uri)
    if numbered and kind(numbered[1]) == {"row": "parquet", "record": "tfrecord"}[numbered[2]]:
        return MemberUri(numbered[1], numbered[3])
    return None


def file_of(uri: str) -> str:
    """Return the URI of the file to read: that of the shard for a member, else ``uri`` itself."""
    member = split(uri)
    return member.shard if member else uri


def with_shard(uri: str, shard: str) -> str:
    """Return the URI of the same member in another shard, for a URI of a member."""
    before = split(uri)
    if before is None:
        raise ValueError(f"{uri!r} is not the URI of an image in a shard")
    start = uri.rfind(before.shard)
    return uri[:start] + shard + uri[start + len(before.shard) :]


def to_key(uri: str) -> str:
    """Return a URI in the form by which the key index sorts: the members of a shard are beside each other."""
    chained = _CHAINED.fullmatch(uri) if "::" in uri else None
    return f"{chained[3]}::{chained[1]}://{chained[2]}" if chained else uri


def from_key(key: str) -> str:
    """Return the URI for the result of ``to_key``."""
    found = _SORTED.fullmatch(key)
    return f"{found[2]}://{found[3]}::{found[1]}" if found else key
