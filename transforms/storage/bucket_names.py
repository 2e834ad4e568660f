"""URIs on gs:// and s3://: the bucket and the name of an object, and the names that a bucket can have."""

from __future__ import annotations

import re

from transforms.errors import UsageError

# https://cloud.google.com/storage/docs/buckets#naming. Google reserves some names for its own buckets, which can be
# read like others.
_ON_GS = re.compile(
    r"""(?= .{3,222} \Z )
        (?! .* [^.]{64} )           # a part between dots has up to 63 characters
        (?! \d+ (\.\d+){3} \Z )     # not an IP address
        [a-z0-9] [a-z0-9._-]* [a-z0-9]""",
    re.VERBOSE,
)


# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html. Old buckets and other servers have names
# with capitals and underscores.
_ON_S3 = re.compile(r"(?!\d+(\.\d+){3}\Z)[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")


def split(uri: str) -> tuple[str, str]:
    """Return ``bucket`` and ``any/name`` for ``gs://bucket/any/name``. Names may contain ``?``, ``#`` and ``%``.

    Raises:
        UsageError: The URI has no bucket.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, name = rest.partition("/")
    if not bucket:
        raise UsageError(f"{uri} names no bucket; write {scheme.lower()}://BUCKET/NAME")
    return bucket, name


def require_object(uri: str) -> None:
    """Raise UsageError for a URI without a bucket or without a name."""
    bucket, name = split(uri)
    if not name:
        scheme = uri.partition("://")[0].lower()
        raise UsageError(f"{uri} names a bucket but no object; write {scheme}://{bucket}/NAME")


def check(uri: str) -> None:
    """Raise UsageError for a URI on gs:// or s3:// if no bucket can have the name of its bucket."""
    scheme, _, rest = uri.partition("://")
    bucket = rest.partition("/")[0]
    if not (_ON_S3 if scheme.lower() == "s3" else _ON_GS).fullmatch(bucket):
        raise UsageError(
            f"{uri}: {bucket!r} cannot be the name of a bucket; bucket names have 3 to 63 characters of a-z, 0-9, '-', "
            "'_' and '.', and begin and end with a letter or a digit"
        )
    if scheme.lower() == "s3" and bucket.endswith("--x-s3"):
        raise UsageError(f"{uri}: a directory bucket lists no sorted names; use a general purpose bucket")
