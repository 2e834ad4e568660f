"""The rules for the names of members of a tar or zip: which are images, and which of these can be read by URI."""

from __future__ import annotations

import hashlib
import re

from transforms import defaults

# Metadata of macOS, and of webdataset, which has this pattern for the names that it skips.
_META = re.compile(r"__MACOSX/|__[^/]*__($|/)")
_CONTROL = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029\0]")  # NUL, and what str.splitlines takes for a line break


def is_image(name: str) -> bool:
    """Return whether a member is an image by its name. All others are ignored."""
    base = name.rpartition("/")[2]
    return base.lower().endswith(defaults.IMAGE_SUFFIXES) and not base.startswith(".") and not _META.match(name)


class Names:
    """The names of the images of one shard. It takes about 120 bytes for each."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._count = 0

    def check(self, name: str) -> tuple[str, str | None]:
        """Return the name of an image for its URI, and why it cannot be read by it.

        Args:
            name: The name as stored. Bytes that are not UTF-8 are lone surrogates.

        Returns:
            A name in valid UTF-8 on one line, which is unique in the shard, and a fault or None.
        """
        shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        fault = _fault(name, valid=shown == name)
        shown = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), shown)
        digest = hashlib.blake2b(shown.encode(), digest_size=16).digest()
        if digest in self._seen:
            fault = fault or "has a name that came before in the shard; only the first is read; rename one of them"
            shown = f"{shown}#member={self._count}"
        self._seen.add(digest)
        self._count += 1
        return shown, fault


def _fault(name: str, *, valid: bool) -> str | None:
    if not valid:
        return "has a name that is not UTF-8; rename it"
    if _CONTROL.search(name):
        return "has a line break or NUL in its name; rename it"
    if name.startswith("/"):
        return "has an absolute name; store it with a relative name"
    if ".." in name.split("/"):
        return "has '..' in its name; store it under another name"
    if "::" in name:
        return "has '::' in its name, which separates the parts of a URI; rename it"
    return None
