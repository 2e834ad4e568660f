"""Find the images in shards that the tables lack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from beamsight.text import count
from transforms import counts, member_uris
from transforms.counts import Tally
from transforms.errors import Fatal, ImageError, ListError, NotFound
from transforms.history import subtract
from transforms.history.subtract import Find
from transforms.records import ImageRef, ShardCount, Work
from transforms.run_state import RunState
from transforms.shards import opening
from transforms.shards.container import Container, Member, ShardOptions
from transforms.storage import files

_CHUNK = 512  # members that are compared with the key index at once


class MissingMember(NamedTuple):
    """An image in a shard that a table lacks, or a fault of the shard itself.

    Attributes:
        work: The image, or the shard, and the tables that lack it.
        read: Returns its bytes, or raises ImageError. Thread-safe until the shard is closed.
        shard: The count of the shard. None if the shard cannot be opened, or if only some of its images are read.
    """

    work: Work
    read: Callable[[], bytes]
    shard: ShardCount | None = None


@dataclass(slots=True)
class EndOfShard:
    """The end of a shard, after its last image.

    Attributes:
        container: The shard. Close it when its images are read.
        count: Its images. None if only some of them are read.
    """

    container: Container
    count: ShardCount | None


class MemberReader:
    """Reads shards, and finds their missing images.

    Args:
        options: How to find the images in a shard.
        find: Returns the keys that the tables have of sorted URIs.
        state: The state of the run in this process.
        add_counts: Called with the counts of the images that are found.
        fatal: The errors of shards that must not be opened in this process, by URI.
    """

    def __init__(
        self,
        options: ShardOptions,
        find: Find,
        state: RunState,
        add_counts: Callable[[Tally], None],
        fatal: Mapping[str, Fatal] | None = None,
    ) -> None:
        self._options = options
        self._find = find
        self._state = state
        self._add_counts = add_counts
        self._fatal = fatal or {}

    def read(self, shard: Work, wanted: Sequence[Work] = ()) -> Generator[MissingMember | EndOfShard, None, None]:
        """Yield the missing images of a shard in about the order of the shard, and then its end.

        Args:
            shard: The shard, and the tables that may lack some of its images.
            wanted: The images to read, which are known to be missing. Empty for all that are missing.

        Raises:
            StorageDown: The storage of the shard does not answer.
        """
        uri, version = shard.ref.uri, shard.ref.version
        try:
            if files.is_web(uri):
                raise ListError(
                    f"{uri} is a shard on the web, and shards are read from disks and buckets; copy it there"
                )
            if uri in self._fatal:
                raise self._fatal[uri]
            with self._state.outage.watch(uri):
                container, stat = opening.open_shard(uri, version, self._options)
        except ImageError as error:
            self._state.outage.require_answer(files.exists)  # a shard stands for many images, so one is enough to ask
            for work in wanted or (shard,):
                yield self._fault(work, error, None)
            return
        shard = shard._replace(ref=shard.ref._replace(version=stat.version))
        try:
            if wanted:
                yield from self._read_some(container, shard, wanted)
            else:
                yield from self._read_all(container, shard)
        except BaseException:
            container.close()
            raise

    def _read_all(self, container: Container, shard: Work) -> Iterator[MissingMember | EndOfShard]:
        counted = ShardCount(shard)
        try:
            for chunk in _chunks(container.members()):
                counted.images += len(chunk)
                refs = {ref.uri: (ref, member) for member in chunk for ref in [_ref(container, member, shard.ref)]}
                work, tally = subtract.missing([[ref for ref, _ in refs.values()]], self._find, shard.tables)
                counted.failed += tally[counts.FAILED_BEFORE]
                self._add_counts(tally)
                for item in work:
                    yield MissingMember(item, partial(container.read, refs[item.ref.uri][1]), counted)
        except ImageError as error:
            yield self._fault(shard, error, counted)
        else:
            if not counted.images:
                yield self._fault(shard, _no_images(shard.ref.uri, container.others), counted)
        counted.others = container.others
        self._add_counts(Counter({counts.IGNORED: counted.others}))
        yield EndOfShard(container, counted)

    def _read_some(
        self, container: Container, shard: Work, wanted: Iterable[Work]
    ) -> Iterator[MissingMember | EndOfShard]:
        left = {work.ref.uri: work for work in wanted}
        error: ImageError | None = None
        try:
            for member in container.members():
                ref = _ref(container, member, shard.ref)
                if (work := left.pop(ref.uri, None)) is not None:
                    yield MissingMember(work._replace(ref=ref), partial(container.read, member))
                if not left:
                    break
        except ImageError as broken:
            error = broken
        for uri, work in left.items():
            work = work._replace(ref=work.ref._replace(version=shard.ref.version))
            yield self._fault(work, error or NotFound(f"{uri}: the shard has no such image"), None)
        yield EndOfShard(container, None)

    def _fault(self, work: Work, error: ImageError, count: ShardCount | None) -> MissingMember:
        if member_uris.split(work.ref.uri) is None:  # a fault of a shard counts as an image that fails
            self._add_counts(Counter({counts.LISTED: 1, counts.MISSING: 1}))
        return MissingMember(work, partial(_raise, error), count)


def list_refs(shard: ImageRef, options: ShardOptions) -> Iterator[ImageRef]:
    """Yield all images in a shard. Raises ImageError if it cannot be read to its end."""
    container, stat = opening.open_shard(shard.uri, shard.version, options)
    with closing(container):
        for member in container.members():
            yield _ref(container, member, shard._replace(version=stat.version))


def _chunks(members: Iterator[Member]) -> Iterator[list[Member]]:
    """Yield members in chunks. An error is raised after the members before it."""
    chunk: list[Member] = []
    try:
        for member in members:
            chunk.append(member)
            if len(chunk) == _CHUNK:
                yield chunk
                chunk = []
    except ImageError:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def _ref(container: Container, member: Member, shard: ImageRef) -> ImageRef:
    uri = member_uris.join(container.kind, shard.uri, member.name)
    fault = member.fault and f"{uri} {member.fault}"
    return ImageRef(uri, shard.version, member.size, fault, shard.day)


def _no_images(uri: str, others: int) -> ListError:
    content = f"only {count(others, 'member')} without the suffix of an image" if others else "it is empty"
    return ListError(f"{uri} holds no images: {content}")


def _raise(error: ImageError) -> bytes:
    raise error
