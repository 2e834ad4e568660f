"""The errors that beamsight raises on purpose.

    BeamsightError
    ├── UsageError            the request is impossible: wrong option, nothing matches, no such column
    │   ├── ModelError        a model cannot be staged or loaded: unreachable, wrong shape, wrong hash
    │   └── NoCredentials     there are no valid credentials for a cloud
    ├── Locked                another run works on the output
    ├── Stopped               the work of this process was stopped
    ├── StorageDown           a storage does not answer, so no image is to blame
    ├── EngineError           an engine cannot run a batch
    │   └── OutOfMemory       there is too little memory; a smaller batch may succeed
    └── ImageError            one image cannot be processed; it becomes a row of the failures table
        ├── ListError         the line of a manifest names no image
        ├── FetchError        the bytes cannot be read
        │   ├── NotFound      the file or object does not exist
        │   ├── Changed       the file was overwritten after it was listed
        │   ├── TooManyBytes  the file has more bytes than ``--max-bytes``
        │   ├── Disallowed    the server forbids this use of the image
        │   └── Unreadable    no permission, no response, or a wrong checksum
        ├── DecodeError       the bytes cannot be decoded
        │   ├── EmptyFile     there are no bytes
        │   ├── NotAnImage    the format is unknown or not supported
        │   ├── Truncated     the bytes end before the image does
        │   ├── Corrupt       the format is known, but the content is broken
        │   ├── Fatal         the image ends the process that decodes it
        │   ├── BrokenShard   a shard cannot be read to its end
        │   ├── TooManyPixels the image has more pixels than ``--max-pixels``
        │   └── TooLittleMemory  the machine has too little memory at the moment
        └── InferenceError    a model has no result for the image
            ├── NonFinite     the result contains NaN or infinity
            └── Refused       the engine fails on this image and on no other

An ``ImageError`` is caught in one place, where it becomes a failure row. A ``UsageError`` ends the command with
exit code 2, and ``Locked`` with exit code 4. Any other error is a bug or a broken machine, and fails the run.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal

Stage = Literal["list", "fetch", "decode", "classify", "embed"]


class BeamsightError(Exception):
    """Base class of all errors that are raised on purpose."""


class UsageError(BeamsightError):
    """The request is impossible. The message names the value and the remedy."""


class ModelError(UsageError):
    """A model cannot be staged or loaded."""


class NoCredentials(UsageError):
    """There are no valid credentials for a cloud that is needed."""


class Locked(BeamsightError):
    """Another run works on the output. The message says which, and since when."""


class Stopped(BeamsightError):
    """The work of this process was stopped. Unfinished units are discarded."""


class StorageDown(BeamsightError):
    """A storage does not answer. The images in progress count as not tried."""


class EngineError(BeamsightError):
    """An engine cannot run a batch."""


class OutOfMemory(EngineError):
    """An engine has too little memory for a batch."""


class ImageError(BeamsightError):
    """One image cannot be processed.

    Attributes:
        stage: The step that failed.
        retryable: Whether the failure is transient, such as a timeout, a 5xx response or a change during the read.
        version: The version of the bytes, if it is known.
    """

    stage: ClassVar[Stage]

    def __init__(self, message: str, *, retryable: bool = False, version: str | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.version = version


class ListError(ImageError):
    """A line of a manifest names no image."""

    stage = "list"


class FetchError(ImageError):
    """The bytes of an image cannot be read."""

    stage = "fetch"


class NotFound(FetchError):
    """The file or object does not exist."""


class Changed(FetchError):
    """The image was overwritten after it was listed. The next run lists the new version."""

    def __init__(self, message: str, *, version: str | None = None) -> None:
        super().__init__(message, retryable=True, version=version)


class TooManyBytes(FetchError):
    """The file is larger than the limit."""


class Disallowed(FetchError):
    """The server of the image forbids this use of it, with the header ``X-Robots-Tag``."""


class Unreadable(FetchError):
    """The file exists, but its bytes cannot be read.

    Attributes:
        answered: Whether the storage works, and the error concerns this file: no permission, or wrong bytes.
    """

    def __init__(
        self, message: str, *, retryable: bool = False, version: str | None = None, answered: bool = False
    ) -> None:
        super().__init__(message, retryable=retryable, version=version)
        self.answered = answered


class DecodeError(ImageError):
    """The bytes cannot be decoded."""

    stage = "decode"


class EmptyFile(DecodeError):
    """The file contains no bytes."""


class NotAnImage(DecodeError):
    """The bytes are not in a supported image format."""


class Truncated(DecodeError):
    """The bytes end before the image does."""


class Corrupt(DecodeError):
    """The format is known, but the content is broken."""


class Fatal(DecodeError):
    """The image ends the process that decodes it, or needs too much memory."""


class BrokenShard(DecodeError):
    """A shard of images cannot be read to its end. The images before the fault are not affected."""


class TooManyPixels(DecodeError):
    """The image has more pixels than the limit."""


class TooLittleMemory(DecodeError):
    """The machine has too little memory at the moment. A later attempt may succeed."""

    def __init__(self, message: str, *, version: str | None = None) -> None:
        super().__init__(message, retryable=True, version=version)


class InferenceError(ImageError):
    """A model has no result for an image. The stage is the model's task."""

    def __init__(self, message: str, *, stage: Stage, retryable: bool = False) -> None:
        super().__init__(message, retryable=retryable)
        self.stage = stage  # type: ignore[misc]  # set per instance, because both tasks share the class

    def __reduce__(self) -> tuple[Any, ...]:
        # Python's own way calls the class with the message alone, and then the error is lost on its way to a process.
        return partial(type(self), stage=self.stage), self.args, self.__dict__


class NonFinite(InferenceError):
    """The model's result contains NaN or infinity."""


class Refused(InferenceError):
    """The engine fails on this image and not on others."""
