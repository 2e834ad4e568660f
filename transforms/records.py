"""The values that pass between the steps: small, immutable, the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from transforms.errors import ImageError, Stage


class ImageRef(NamedTuple):
    """An image to be done. A tuple, as millions of them are shuffled and Beam codes plain tuples fast.

    uri: as it was given. version, size: as it was listed, in the terms of ``transforms.storage.base.Stat``; None
    where the list did not say. fault: why this line of a manifest names no image, else None; then ``uri`` is
    ``<manifest>:<line>`` and ``version`` is the manifest's.
    """

    uri: str
    version: str | None = None
    size: int | None = None
    fault: str | None = None


class Work(NamedTuple):
    """An image and the tables that lack it, by their names such as ``predictions/model=efficientnet-b7-1a2b3c4d``.

    attempt: 1, and one more for each time that this version of the image failed in one of these tables.
    """

    ref: ImageRef
    tables: tuple[str, ...]
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Unit:
    """What one call of the DoFn does and one file of each table holds; ``work`` is sorted by URI."""

    name: str
    work: tuple[Work, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A row of the failures table, before the run's id and the time are added."""

    uri: str
    version: str | None
    stage: Stage
    error: str
    message: str
    retryable: bool
    tables: tuple[str, ...]
    attempt: int = 1

    @classmethod
    def of(cls, work: Work, error: ImageError) -> Failure:
        """What goes into the table for an error: its class's name and one line of text, at most 500 characters."""
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
