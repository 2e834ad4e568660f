"""The checksum of an object on s3://, as far as the server states one.

Amazon S3 and most other servers keep a checksum of objects that were uploaded with one. Of an object without it, the
ETag is the MD5 of the content if it was uploaded in one part and is not encrypted with a key of KMS or of the customer.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Protocol

from google_crc32c import Checksum as Crc32c

_PIECE = 1 << 20  # bytes
_MD5 = re.compile("[0-9a-f]{32}")


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


# By the field of a response, the fastest first. CRC64NVME is left out, because no dependency computes it.
_HASHES: dict[str, Callable[[], _Hash]] = {
    "ChecksumCRC32C": Crc32c,
    "ChecksumCRC32": _Crc32,
    "ChecksumSHA256": hashlib.sha256,
    "ChecksumSHA1": hashlib.sha1,
}


class Checksum:
    """The checksum of the bytes that arrive, to compare with the one in the response that describes the object.

    Attributes:
        is_certain: False for an ETag on a server other than Amazon S3, which may have ETags of another kind that look
            like MD5.
    """

    def __init__(self, response: Mapping[str, Any], *, trust_etag: bool) -> None:
        """Choose what to verify.

        Args:
            response: The response to a request for the object or its metadata.
            trust_etag: Whether the ETags of the server are as on Amazon S3.
        """
        self.is_certain = True
        self._hash: _Hash | None = None
        for field, make in _HASHES.items():
            stated = response.get(field, "")
            if stated and "-" not in stated and response.get("ChecksumType") != "COMPOSITE":
                self._hash, self._expected = make(), base64.b64decode(stated)
                return
        etag = response["ETag"].strip('"')
        encrypted = response.get("ServerSideEncryption", "").startswith("aws:") or "SSECustomerAlgorithm" in response
        if _MD5.fullmatch(etag) and not encrypted:
            self._hash, self._expected = hashlib.md5(usedforsecurity=False), bytes.fromhex(etag)
            self.is_certain = trust_etag

    def update(self, data: bytes) -> None:
        """Add the next bytes of the object."""
        if self._hash is not None:
            self._hash.update(data)

    def digest(self) -> bytes:
        """Return the checksum of the bytes so far. Empty if there is nothing to compare it with."""
        return b"" if self._hash is None else self._hash.digest()

    def matches(self, earlier: bytes | None) -> bool:
        """Return whether the bytes are those of the object, as far as the server tells.

        Args:
            earlier: The digest of an earlier download that did not match, or None. If two downloads have the same
                bytes, then an ETag that does not match is no MD5.
        """
        if self._hash is None or self._hash.digest() == self._expected:
            return True
        return not self.is_certain and self._hash.digest() == earlier


def crc32c_of(file: BinaryIO) -> str:
    """Return the crc32c of a whole file as S3 writes it."""
    file.seek(0)
    checksum = Crc32c()
    while piece := file.read(_PIECE):
        checksum.update(piece)
    return base64.b64encode(checksum.digest()).decode()
