"""The values that pass between the steps. They are small, immutable and the same on every machine.

``ImageRef`` and ``ClassScore`` have schemas of Beam, see ``tables.typed_rows``. Beam reads their types early, so this
module has no ``from __future__ import annotations``, and it makes a column of a schema from ``Optional`` only.
"""

from dataclasses import dataclass
from typing import NamedTuple, Optional

import numpy as np

from transforms.errors import ImageError, Stage


class ImageRef(NamedTuple):
    """A listed image. It is a tuple because Beam shuffles millions of them and encodes plain tuples fast.

    Attributes:
        uri: The URI as the user wrote it; ``<manifest>:<line>`` if there is a fault.
        version: The listed version, see ``transforms.storage.base.Stat``. None if the listing has no versions; the
            manifest's version if there is a fault.
        size: The listed size in bytes. None if the listing has no sizes.
        fault: Why this line of a manifest names no image; None if it names one.
        day: The logical day that the image was listed for. None for the day of the run.
    """

    uri: str
    version: Optional[str] = None
    size: Optional[int] = None
    fault: Optional[str] = None
    day: Optional[str] = None


class ClassScore(NamedTuple):
    """A class and its probability. ``wnid`` is the WordNet id, or None for labels of your own."""

    class_id: np.int32
    wnid: Optional[str]
    label: str
    score: np.float32


class Work(NamedTuple):
    """An image and the tables that lack it.

    Attributes:
        ref: The image.
        tables: Names of the tables, such as ``predictions/model=efficientnet-b7-1a2b3c4d``.
        attempt: 1 plus the number of times that this version of the image has failed in one of these tables.
    """

    ref: ImageRef
    tables: tuple[str, ...]
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Unit:
    """The work of one call of the DoFn, sorted by URI. It results in at most one file per table, of the logical day."""

    name: str
    work: tuple[Work, ...]
    day: str


@dataclass(frozen=True, slots=True)
class ShardTask:
    """The work of one call of the DoFn in shards, which are files of many images. It results in one or more units.

    Attributes:
        shards: The shards, each with the tables that may lack some of its images.
        members: The images to process if they are not all, which are in the only shard.
    """

    shards: tuple[Work, ...]
    members: tuple[Work, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A row of the failures table without ``run_id`` and ``failed_at``."""

    uri: str
    version: str | None
    stage: Stage
    error: str
    message: str
    retryable: bool
    tables: tuple[str, ...]
    attempt: int = 1

    @classmethod
    def of(cls, work: Work, error: ImageError) -> "Failure":
        """Return the row for an error: the name of its class and one line of text with at most 500 characters."""
        line = " ".join(str(error).split())
        return cls(
            uri=work.ref.uri,
            version=error.version or work.ref.version,
            stage=error.stage,
            error=type(error).__name__,
            message=line if len(line) <= 500 else line[:499] + "…",
            retryable=error.retryable,
            tables=work.tables,
            attempt=work.attempt,
        )


@dataclass(slots=True)
class ShardCount:
    """What was read of a shard so far.

    Attributes:
        work: The shard, in the version that is read, and the tables that lacked some of its images.
        images: The number of images, also of those that were done before.
        others: The number of other members.
        failed: The number of images that failed, in this run or before.
        broken: Whether the shard itself failed, because it cannot be read to its end or has no images.
        retryable: Whether one of the failures is transient.
    """

    work: Work
    images: int = 0
    others: int = 0
    failed: int = 0
    broken: bool = False
    retryable: bool = False

    def add_failure(self, uri: str, *, retryable: bool) -> None:
        """Count the failure of an image, or of the shard itself."""
        if uri == self.work.ref.uri:
            self.broken = True
        else:
            self.failed += 1
        self.retryable |= retryable
