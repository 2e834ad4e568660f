"""The names that a bucket of Google Cloud Storage can have."""

from __future__ import annotations

import re

from transforms.errors import UsageError

# https://cloud.google.com/storage/docs/buckets#naming. Google reserves some names for its own buckets, which can be
# read like others.
_BUCKET = re.compile(
    r"""(?= .{3,222} \Z )
        (?! .* [^.]{64} )           # a part between dots has up to 63 characters
        (?! \d+ (\.\d+){3} \Z )     # not an IP address
        [a-z0-9] [a-z0-9._-]* [a-z0-9]""",
    re.VERBOSE,
)


def check(uri: str) -> None:
    """Raise UsageError for a URI on gs:// if no bucket can have the name of its bucket."""
    bucket = uri[len("gs://") :].partition("/")[0]
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(
            f"{uri}: {bucket!r} cannot be the name of a bucket; bucket names have 3 to 63 characters of a-z, 0-9, '-', "
            "'_' and '.', and begin and end with a letter or a digit"
        )
