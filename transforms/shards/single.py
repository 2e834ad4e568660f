"""Read one image inside a shard by its URI."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict

from transforms import member_uris
from transforms.errors import ImageError, ListError, NotFound
from transforms.shards.container import Container, Member, ShardOptions
from transforms.shards.opening import OpenShard, open_shard
from transforms.storage import files
from transforms.storage.base import Stat

_OPEN = 2  # shards that stay open

_Key = tuple[str, str, ShardOptions]


class _Members:
    """The members of an open shard, which are walked once and only as far as they are asked for."""

    def __init__(self, opened: OpenShard) -> None:
        self.opened = opened
        self._left = opened.container.members()
        self._seen: dict[str, Member] = {}
        self._fault: ImageError | None = None

    def find(self, name: str) -> Member:
        """Return a member. Raises NotFound, or the error of a shard that cannot be read as far as this."""
        while name not in self._seen:
            if self._fault is not None:
                raise self._fault
            try:
                member = next(self._left)
            except StopIteration:
                stat = self.opened.stat
                raise NotFound(f"{stat.uri} has no image {name}", version=stat.version) from None
            except ImageError as error:
                self._fault = error
            else:
                self._seen[member.name] = member
        return self._seen[name]


class _Shards:
    """The shards that were opened last. Each is closed when it is neither in here nor in use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[_Key, _Members] = OrderedDict()

    def find(self, key: _Key, name: str) -> tuple[Container, Stat, Member]:
        """Return a member and its shard, which is copied only if it is not open."""
        uri, version, options = key
        with self._lock:
            if key not in self._open:
                while len(self._open) >= _OPEN:
                    self._open.popitem(last=False)
                self._open[key] = _Members(open_shard(uri, version, options))
            self._open.move_to_end(key)
            members = self._open[key]
            return *members.opened, members.find(name)


_shards = _Shards()


def read_member(
    uri: str,
    version: str | None = None,
    options: ShardOptions = ShardOptions(),  # noqa: B008 - it cannot be changed
) -> tuple[bytes, Stat]:
    """Return the bytes of an image in a shard, and the size and version of the shard. Thread-safe.

    The two shards that were read last stay open, so that several images of one shard copy it once.

    Args:
        uri: The URI of the image; see ``member_uris``.
        version: The version of the shard. None for the current version.
        options: How to find the images in the shard.

    Raises:
        NotFound: There is no such image, or no such shard.
        ListError: The image cannot be read by its URI.
        ImageError: The shard or the image cannot be read.
    """
    member_uri = member_uris.split(uri)
    if member_uri is None:
        raise NotFound(f"{uri} names no image in a shard; write it as tar://NAME::SHARD, or as SHARD#row=NUMBER")
    shard, name = member_uri
    container, stat, member = _shards.find((shard, version or files.stat(shard).version, options), name)
    if member.fault is not None:
        raise ListError(f"{uri} {member.fault}", version=stat.version)
    return container.read(member), stat


def close() -> None:
    """Close the shards that stay open."""
    global _shards
    _shards = _Shards()


os.register_at_fork(after_in_child=close)  # another thread of the parent may hold the lock
