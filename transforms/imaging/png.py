"""Read the chunks of a PNG that its first image needs: pixels, colour profile and orientation.

All other chunks are skipped unread: texts, the frames of an animation, and what applications store. So they cannot make
an image fail, and the limits of Pillow for them, which are global variables, do not matter.
"""

from __future__ import annotations

import zlib
from contextlib import suppress

from PIL import PngImagePlugin

MAX_METADATA = 16 << 20  # bytes of a decompressed profile or text; a larger one is ignored

_CHECKSUM = 4  # bytes
_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_METADATA = frozenset({b"iCCP", b"eXIf", b"tEXt", b"zTXt", b"iTXt"})
_KEYS = {b"exif": "exif", b"Raw profile type exif": "Raw profile type exif", b"XML:com.adobe.xmp": "xmp"}


class Chunks(PngImagePlugin.PngStream):
    """The chunks of a PNG."""

    def read(self) -> tuple[bytes, int, int]:
        """Return the name, position and length of the next chunk that is needed."""
        while True:
            cid, pos, length = super().read()
            if cid == b"fcTL" and self.im_tile:  # The second frame follows.
                return b"IEND", pos, 0
            if cid in _PIXELS or cid in _METADATA:
                return cid, pos, length
            assert self.fp is not None
            self.fp.seek(pos + length + _CHECKSUM)

    def call(self, cid: bytes, pos: int, length: int) -> bytes:
        """Read the content of a chunk. Of several profiles or texts with a key, the first counts."""
        if cid in _PIXELS:
            return super().call(cid, pos, length)
        assert self.fp is not None
        with suppress(ValueError, IndexError, zlib.error):  # an image without metadata is better than a failure
            self._keep(cid, self.fp.read(length))
        return b""

    def crc(self, cid: bytes, data: bytes) -> None:
        """Check the checksum of a chunk, except for metadata."""
        check = super().crc if cid in _PIXELS else self.crc_skip
        check(cid, data)

    def _keep(self, cid: bytes, data: bytes) -> None:
        """Add a profile or a text to the image's ``info``, under the key that Pillow uses."""
        name, _, rest = (b"exif", b"", data) if cid == b"eXIf" else data.partition(b"\0")
        key = "icc_profile" if cid == b"iCCP" else _KEYS.get(name)
        if key is None or key in self.im_info:
            return
        is_compressed = cid in (b"iCCP", b"zTXt")
        if is_compressed:
            rest = rest[1:]
        elif cid == b"iTXt":
            is_compressed = rest[0] != 0
            rest = rest[2:].split(b"\0", 2)[2]
        if is_compressed:
            unpacker = zlib.decompressobj()
            rest = unpacker.decompress(rest, MAX_METADATA)
            if unpacker.unconsumed_tail:
                return
        self.im_info[key] = rest
