"""Every error that beamsight raises on purpose.

    BeamsightError
    ├── UsageError            what was asked cannot be done: wrong option, nothing matched, no such column
    │   ├── ModelError        a model cannot be staged or loaded: unreachable, wrong shape, wrong hash
    │   └── NoCredentials     a cloud does not know who asks
    ├── Locked                somebody else works on the output
    ├── Stopped               the work of this process was told to stop
    ├── EngineError           a model that was loaded refuses a batch
    │   └── OutOfMemory       ... for want of memory: a smaller batch may pass
    └── ImageError            one image cannot be done; it becomes a row of the failures table
        ├── ListError         its line in a manifest names no image
        ├── FetchError        its bytes cannot be had
        │   ├── NotFound      there is no such file or object
        │   ├── Changed       it was overwritten since it was listed
        │   ├── TooManyBytes  more than ``--max-bytes``
        │   └── Unreadable    no permission, no answer, not the bytes that were stored
        ├── DecodeError       its bytes are no picture that can be used
        │   ├── EmptyFile     no bytes at all
        │   ├── NotAnImage    no format that can be read
        │   ├── Truncated     the bytes end before the picture does
        │   ├── Corrupt       the format is known, its content is broken
        │   └── TooManyPixels more than ``--max-pixels``
        └── InferenceError    a model has no answer for it
            ├── NonFinite     the answer holds NaN or infinity
            └── Refused       the engine fails on this image and on no other

An ``ImageError`` is caught at one place, where it becomes a failure row. A ``UsageError`` ends the command with
exit code 2, ``Locked`` with 4. Anything else is a bug or a broken machine and fails the run loudly.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Stage = Literal["list", "fetch", "decode", "classify", "embed"]


class BeamsightError(Exception):
    """Base of all errors raised on purpose."""


class UsageError(BeamsightError):
    """What was asked cannot be done; the message names the value and the remedy."""


class ModelError(UsageError):
    """A model cannot be staged or loaded."""


class NoCredentials(UsageError):
    """A cloud has to be asked, and it does not know who asks."""


class Locked(BeamsightError):
    """Somebody else works on the output; the message says who, and since when."""


class Stopped(BeamsightError):
    """The work of this process was told to stop, and what is in the middle is dropped."""


class EngineError(BeamsightError):
    """An engine could not run a batch."""


class OutOfMemory(EngineError):
    """An engine had not enough memory for a batch."""


class ImageError(BeamsightError):
    """One image cannot be done.

    ``retryable`` tells a passing fault (timeout, 5xx, changed while it was read) from a lasting one.
    ``version`` is the version of the bytes concerned, where it was known by then.
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
    """The bytes of an image cannot be had."""

    stage = "fetch"


class NotFound(FetchError):
    """There is no such file or object."""


class Changed(FetchError):
    """The image was overwritten since it was listed; the next run lists the new version."""

    def __init__(self, message: str, *, version: str | None = None) -> None:
        super().__init__(message, retryable=True, version=version)


class TooManyBytes(FetchError):
    """The file is larger than the limit."""


class Unreadable(FetchError):
    """The file is there but its bytes cannot be read."""


class DecodeError(ImageError):
    """The bytes are no picture that can be used."""

    stage = "decode"


class EmptyFile(DecodeError):
    """The file holds no bytes."""


class NotAnImage(DecodeError):
    """The bytes are in no image format that can be read."""


class Truncated(DecodeError):
    """The bytes end before the picture does."""


class Corrupt(DecodeError):
    """The format is known and its content is broken."""


class TooManyPixels(DecodeError):
    """The picture has more pixels than the limit."""


class InferenceError(ImageError):
    """A model has no answer for an image. The stage is the task of the model."""

    def __init__(self, message: str, *, stage: Stage, retryable: bool = False) -> None:
        super().__init__(message, retryable=retryable)
        self.stage = stage  # type: ignore[misc]  # of the instance here: one class serves both models


class NonFinite(InferenceError):
    """The model's answer holds NaN or infinity."""


class Refused(InferenceError):
    """The engine fails on this image and not on others."""
