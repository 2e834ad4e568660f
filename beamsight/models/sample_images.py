"""Draw a sample of the user's images, as pixels for a model, for the commands that examine a model."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np

from transforms import defaults, member_uris
from transforms.errors import ImageError, UsageError
from transforms.history import members, subtract
from transforms.imaging import prepare
from transforms.imaging.opening import Pixels
from transforms.imaging.prepare import Failed, Limits, Prepared
from transforms.inference.spec import ModelSpec
from transforms.listing import sources
from transforms.prefetch import prefetch
from transforms.records import ImageRef, Work
from transforms.shards.container import ShardOptions

LISTED = 100_000  # images that a sample is drawn from
_SHARDS = 4  # that are opened for a sample

_TABLE = "sample"


def choose(images: Sequence[str], limit: int, uri_column: str = defaults.URI_COLUMN) -> list[ImageRef]:
    """Return at most ``limit`` images of the sources, the same ones each time.

    The images with the smallest hash of the URI are chosen, because the first ones of a folder are often alike. Only
    the first ``LISTED`` images are considered, and those in a few of the shards.

    Raises:
        UsageError: A source has no images.
    """
    sources.check(images, uri_column)
    refs = (ref for source in images for part in sources.list_images(source, uri_column) for ref in part.refs)
    named = {ref.uri: ref for ref in islice(refs, LISTED)}
    shards = heapq.nsmallest(_SHARDS, (ref for ref in named.values() if subtract.is_shard(ref)), key=_hash)
    named = {uri: ref for uri, ref in named.items() if not subtract.is_shard(ref)}
    for shard in shards:
        with suppress(ImageError):  # The images before a fault are as good as others.
            named.update((ref.uri, ref) for ref in islice(members.list_refs(shard, ShardOptions()), LISTED))
    chosen = heapq.nsmallest(limit, named.values(), key=_hash)
    return sorted(chosen, key=lambda ref: member_uris.to_key(ref.uri))  # so that each shard is copied once


def _hash(ref: ImageRef) -> bytes:
    return hashlib.sha256(ref.uri.encode()).digest()


@dataclass(slots=True)
class Sample:
    """Chosen images and the spec of the model that they are for. ``broken`` counts unreadable images by error."""

    refs: list[ImageRef]
    spec: ModelSpec
    limits: Limits = field(default_factory=Limits)
    broken: Counter[str] = field(default_factory=Counter)

    def chunks(self, size: int) -> Iterator[Pixels]:
        """Yield the readable images in order, as uint8[N, side, side, 3] with N up to ``size``.

        Nothing is fetched or decoded while the caller works on a chunk, so the caller can time its own work.

        Raises:
            UsageError: No image can be read.
        """
        any_read = False
        for start in range(0, len(self.refs), size):
            works = [Work(ref, (_TABLE,)) for ref in self.refs[start : start + size]]
            ready: dict[str, Prepared] = {}
            work = partial(prepare.prepare, specs={_TABLE: self.spec}, limits=self.limits)
            for image in prefetch(works, work, threads=defaults.THREADS, window=2 * defaults.THREADS):
                if isinstance(image, Failed):
                    self.broken[image.failure.error] += 1
                else:
                    ready[image.work.ref.uri] = image
            if ready:
                any_read = True
                yield np.stack([ready[uri].pixels[_TABLE] for uri in (w.ref.uri for w in works) if uri in ready])
        if not any_read:
            raise UsageError(f"--images: none of the images can be read ({self.reasons()})")

    def reasons(self) -> str:
        """Return the number of unreadable images by error, such as ``2 Truncated, 1 NotFound``."""
        return ", ".join(f"{count} {error}" for error, count in self.broken.most_common())
