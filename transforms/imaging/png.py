"""Read the chunks of a PNG that its first image needs: pixels, colour profile and orientation.

All other chunks are skipped unread: texts, the frames of an animation, and what applications store. So they cannot make
an image fail, and the limits of Pillow for them, which are global variables, do not matter.
"""

from __future__ import annotations

import zlib
from contextlib import suppress

from PIL import PngImagePlugin

MAX_METADATA = 16 << 20  # bytes of a decompressed profile or text; a larger one is ignored

_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_METADATA = frozenset({b"iCCP", b"eXIf", b"tEXt", b"zTXt", b"iTXt"})
_KEYS = {b"exif": "exif", b"Raw profile type exif": "Raw profile type exif", b"XML:com.adobe.xmp": "xmp"}


class Chunks(PngImagePlugin.PngStream):
    """The chunks of a PNG."""

    def call(self, cid: bytes, pos: int, length: int) -> bytes:
        """Read the content of a chunk, or skip it. Of several profiles or texts with a key, the first counts."""
        if cid in _PIXELS:
            return super().call(cid, pos, length)
        assert self.fp is not None
        if cid in _METADATA:
            with suppress(ValueError, IndexError, zlib.error):  # an image without metadata is better than a failure
                self._keep(cid, self.fp.read(length))
        self.fp.seek(pos + length)
        return b""

    def crc(self, cid: bytes, data: bytes) -> None:
        """Check the checksum of a chunk that was not skipped."""
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
