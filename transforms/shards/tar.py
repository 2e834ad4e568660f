"""Images in a tar. ``tarfile`` takes a damaged header for the end of the tar, so this module walks the headers."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from transforms.errors import TooManyBytes
from transforms.member_uris import Kind
from transforms.shards.container import Member, ShardOptions
from transforms.shards.member_names import Names, is_image
from transforms.shards.source import Source

BLOCK = 512  # bytes
_MAX_EXTENSION = 1 << 20  # bytes of an extended header; a path has 4,096 at most
_SPARSE = "GNU.sparse"  # stands for the keys of sparse files that are not their name
_ZEROS = bytes(BLOCK)
_PIECE = 1 << 20  # bytes

_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a fifo",
}
_WITHOUT_DATA = (*_KINDS, tarfile.DIRTYPE)
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_EXTENSIONS = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE)
_LONG = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


class _Place(NamedTuple):
    start: int
    size: int


class TarShard:
    """``Container`` for a tar in the formats ustar, PAX and GNU, and of the time before them."""

    kind: Kind = "tar"

    def __init__(self, source: Source, options: ShardOptions) -> None:
        self.others = 0
        self._source = source
        self._max_bytes = options.max_bytes

    def members(self) -> Iterator[Member]:
        """See ``Container.members``."""
        self.others = 0
        names = Names()
        for header in _headers(self._source):
            if header.type == tarfile.DIRTYPE or not is_image(header.name):
                self.others += 1
                continue
            name, fault = names.check(header.name)
            yield Member(name, header.size, _Place(header.start, header.size), fault or header.fault)

    def read(self, member: Member) -> bytes:
        """See ``Container.read``."""
        start, size = member.place
        if size > self._max_bytes:
            raise TooManyBytes(f"{member.name} has {size:,} bytes, more than --max-bytes {self._max_bytes:,}")
        return self._source.read_at(start, size)

    def close(self) -> None:
        """See ``Container.close``."""
        self._source.close()


class _Header(NamedTuple):
    name: str
    type: bytes
    start: int  # of the data
    size: int
    fault: str | None


def _headers(source: Source) -> Iterator[_Header]:
    """Yield the headers of all members but extended ones. Raises BrokenShard."""
    shared: dict[str, str] = {}  # for all members that follow
    own: dict[str, str] = {}  # for the next member
    place = 0
    while block := source.read_at(place, BLOCK):
        if block == _ZEROS:
            _check_rest(source, place)
            break
        info = _parse(source, block, place)
        start = place + BLOCK
        if info.type == tarfile.GNUTYPE_SPARSE:
            start = _after_map(source, block, start)
        if info.type in _EXTENSIONS or info.type in _LONG:
            data = _extension(source, start, info.size)
            if info.type == tarfile.GNUTYPE_LONGNAME:
                own["path"] = _text(data.partition(b"\0")[0])
            elif info.type == tarfile.XGLTYPE:
                shared |= _records(source, data, start)
            elif info.type not in _LONG:
                own |= _records(source, data, start)
            place = _end(start, info.size)
            continue
        pax = {key: value for key, value in {**shared, **own}.items() if value}
        own = {}
        header = _merge(source, info, pax, start)
        has_data = header.type not in _WITHOUT_DATA
        if has_data and start + header.size > source.size:
            shown = ascii(header.name[:200])
            raise source.broken(f"the file ends within {shown}, whose data starts at byte {start:,}", source.size)
        yield header
        place = _end(start, header.size) if has_data else start
    else:
        if own or place > source.size:
            raise source.broken("the file ends within a member", source.size)
    source.check_end()


def _parse(source: Source, block: bytes, place: int) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        reason = "the file ends within a header" if len(block) < BLOCK else f"there is no valid header ({error})"
        raise source.broken(reason, place) from error
    if info.size < 0:
        raise source.broken(f"a header has the size {info.size:,}", place)
    return info


def _merge(source: Source, info: tarfile.TarInfo, pax: dict[str, str], start: int) -> _Header:
    """Return the header of a member with the values of its extended headers."""
    size = info.size
    if "size" in pax:
        if not pax["size"].isdecimal() or len(pax["size"]) > 20:
            raise source.broken(f"an extended header has the size {pax['size'][:40]!r}", start)
        size = int(pax["size"])
    is_sparse = info.type == tarfile.GNUTYPE_SPARSE or _SPARSE in pax
    fault = None
    if is_sparse:
        fault = "is a sparse file; create the tar without --sparse"
    elif info.type in _KINDS:
        fault = f"is {_KINDS[info.type]}; store the file itself, with --dereference and --hard-dereference"
    elif info.type not in _FILES:
        fault = f"has the type {info.type!r}, which is unknown; store a regular file"
    name = pax.get("GNU.sparse.name") or pax.get("path") or info.name
    return _Header(name.rstrip("/"), info.type, start, size, fault)


def _extension(source: Source, start: int, size: int) -> bytes:
    if size > _MAX_EXTENSION:
        raise source.broken(f"an extended header has {size:,} bytes, more than {_MAX_EXTENSION:,}", start)
    data = source.read_at(start, size)
    if len(data) < size:
        raise source.broken("the file ends within an extended header", source.size)
    return data


def _records(source: Source, data: bytes, start: int) -> dict[str, str]:
    """Return the records ``LENGTH KEY=VALUE`` of a PAX header that matter."""
    found = {}
    place = 0
    while place < len(data) and data[place] != 0:
        digits, _, _ = data[place : place + 20].partition(b" ")
        end = place + int(digits) if digits.isdigit() else 0
        key, equals, value = data[place + len(digits) + 1 : end - 1].partition(b"=")
        if end > len(data) or not equals or data[end - 1 : end] != b"\n":
            raise source.broken("an extended header is not valid", start + place)
        if key in (b"path", b"size", b"GNU.sparse.name"):
            found[_text(key)] = _text(value)
        elif key.startswith(b"GNU.sparse."):
            found[_SPARSE] = "1"
        place = end
    return found


def _after_map(source: Source, block: bytes, start: int) -> int:
    """Return where the data of a sparse file starts, after the blocks that continue its map."""
    first, continues = start, block[482]
    while continues:
        block = source.read_at(start, BLOCK)
        if len(block) < BLOCK or start - first > _MAX_EXTENSION:
            raise source.broken("the map of a sparse file does not end", start)
        continues, start = block[504], start + BLOCK
    return start


def _check_rest(source: Source, place: int) -> None:
    """Raise BrokenShard if other bytes than zeros follow the end marker, as in tars that are concatenated."""
    while piece := source.read_at(place, _PIECE):
        if rest := piece.lstrip(b"\0"):
            raise source.broken("other bytes follow the end of the tar", place + len(piece) - len(rest))
        place += len(piece)


def _end(start: int, size: int) -> int:
    return start + -(-size // BLOCK) * BLOCK


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
