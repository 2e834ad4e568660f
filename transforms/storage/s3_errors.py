"""Errors of s3://: which are transient, and what each becomes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import urllib3.exceptions
from botocore import exceptions
from botocore.parsers import ResponseParserError
from google.api_core.exceptions import RetryError

from transforms.errors import FetchError, NoCredentials, NotFound, Unreadable, UsageError

LOGIN = (
    "run `aws configure` or `aws sso login`, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or attach a role to the "
    "machine"
)

_ABSENT = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NotFound"})
_REFUSED_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
# Of these with status 400, the body of the request did not arrive whole.
_TRANSIENT = frozenset(
    {"BadDigest", "IncompleteBody", "InternalError", "RequestTimeout", "SlowDown", "Throttling", "ThrottlingException"}
)
_TRANSIENT_STATUS = frozenset({408, 409, 429, 500, 502, 503, 504})  # 409 is a conditional write during another write
_NETWORK = (  # no whole response arrived
    exceptions.HTTPClientError,
    exceptions.IncompleteReadError,
    ResponseParserError,
    exceptions.CredentialRetrievalError,
    exceptions.MetadataRetrievalError,
    urllib3.exceptions.HTTPError,
    OSError,
)


def status_of(error: exceptions.ClientError) -> int:
    """Return the HTTP status of an error."""
    status: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status


def is_absent(error: exceptions.ClientError) -> bool:
    """Return whether there is no such object or bucket."""
    return _code(error) in _ABSENT


def is_transient(error: Exception) -> bool:
    """Return whether a request can be repeated."""
    if isinstance(error, exceptions.ClientError):
        return status_of(error) in _TRANSIENT_STATUS or _code(error) in _TRANSIENT
    return isinstance(error, _NETWORK)


def _code(error: exceptions.ClientError) -> str:
    code: str = error.response.get("Error", {}).get("Code", "")
    return code


@contextmanager
def reading(uri: str, permission: str = "s3:GetObject") -> Iterator[None]:
    """Convert errors of a request, after its retries, to NotFound, Unreadable or NoCredentials."""
    try:
        yield
    except exceptions.ClientError as exc:
        raise _convert(uri, permission, exc) from exc
    except RetryError as exc:
        raise Unreadable(f"{uri}: {_text(exc.cause or exc)}, also when tried again", retryable=True) from exc
    except (exceptions.ParamValidationError, exceptions.UnsupportedS3ArnError) as exc:
        raise NotFound(f"there is no {uri}: {exc}") from exc
    except _NETWORK as exc:
        raise Unreadable(f"{uri}: {type(exc).__name__}: {exc}", retryable=True) from exc
    except exceptions.BotoCoreError as exc:  # such as an expired login of SSO
        raise NoCredentials(f"{uri}: the credentials are refused: {LOGIN} ({exc})") from exc


def _convert(uri: str, permission: str, error: exceptions.ClientError) -> FetchError | NoCredentials:
    code, bucket = _code(error), uri.split("/")[2]
    if is_absent(error):
        return NotFound(f"there is no {uri}: no such object, or no bucket s3://{bucket}")
    if code in _REFUSED_CREDENTIALS:
        return NoCredentials(f"{uri}: the credentials are refused: {LOGIN} ({_text(error)})")
    if code == "InvalidObjectState":
        return Unreadable(
            f"{uri} is archived; restore it, and run again ({_text(error)})", retryable=True, answered=True
        )
    if status_of(error) in (401, 403):
        # Granting the permission does not change the image, so the next run retries.
        remedy = f"give the account of this process {permission} on the bucket"
        if permission == "s3:GetObject":
            remedy += ", and s3:ListBucket, without which S3 answers the same for a missing object"
        return Unreadable(f"{uri}: {remedy} ({_text(error)})", retryable=True, answered=True)
    return Unreadable(f"{uri}: {_text(error)}", retryable=is_transient(error))


def _text(error: BaseException) -> str:
    """Return what an error says. The text of botocore also counts its own retries, of which there are none."""
    if not isinstance(error, exceptions.ClientError):
        return f"{type(error).__name__}: {error}"
    return f"{_code(error)}: {error.response.get('Error', {}).get('Message', '')} ({error.operation_name})"


@contextmanager
def writing(uri: str, permission: str = "s3:PutObject") -> Iterator[None]:
    """Convert errors as ``reading`` does, and permanent ones to UsageError: a run cannot go on without its output."""
    try:
        with reading(uri, permission):
            yield
    except FetchError as exc:
        refused = isinstance(exc.__cause__, exceptions.ClientError) and status_of(exc.__cause__) in (401, 403)
        if exc.retryable and not refused:
            raise
        raise UsageError(f"cannot write {uri}: {exc}") from exc


@contextmanager
def ignoring_absent() -> Iterator[None]:
    """Ignore that an object is not there, or not in the version of a condition."""
    try:
        yield
    except exceptions.ClientError as exc:
        if not is_absent(exc) and status_of(exc) != 412:
            raise
