"""The interface of all kinds of shards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from transforms import defaults
from transforms.member_uris import Kind


class ShardOptions(NamedTuple):
    """How to find the images in a shard.

    Attributes:
        image_column: The column of a Parquet file with the bytes of the images. None for the only such column.
        image_feature: The feature of a ``tf.train.Example`` with the bytes of the image.
        max_bytes: Maximum size of an image.
    """

    image_column: str | None = None
    image_feature: str = defaults.IMAGE_FEATURE
    max_bytes: int = defaults.MAX_BYTES


class Member(NamedTuple):
    """An image in a shard.

    Attributes:
        name: The path in a tar or zip, or the number of the row or record. It is valid UTF-8.
        size: The number of its bytes. None if it is not known before they are read.
        place: What the container needs to read it.
        fault: Why it names no image that can be read. None if it names one.
    """

    name: str
    size: int | None = None
    place: Any = None
    fault: str | None = None


class Container(Protocol):
    """A shard that is open. Its bytes are verified, and on the local disk.

    Attributes:
        kind: The kind of its content, by its first bytes.
        others: The number of members that are no images, of those that ``members`` has passed.
    """

    kind: Kind
    others: int

    def members(self) -> Iterator[Member]:
        """Yield the images from the beginning to the end. Memory does not depend on their number or size.

        A ``place`` is valid as long as the member is held.

        Raises:
            BrokenShard: The shard cannot be read beyond the members that were yielded.
            FetchError: The file was overwritten after it was opened, or the disk fails.
        """

    def read(self, member: Member) -> bytes:
        """Return the bytes of an image. Thread-safe, also while ``members`` is iterated.

        Raises:
            ImageError: The image is larger than ``max_bytes``, or its bytes cannot be read.
        """

    def close(self) -> None:
        """Close the file, and delete its temporary copies."""
