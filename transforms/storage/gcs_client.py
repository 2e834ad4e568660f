"""The client for gs://, one in each process, its objects by URI, and the conversion of its errors.

The first request creates the client. A forked child creates its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
import urllib3.exceptions
from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from transforms.errors import Changed, FetchError, NoCredentials, NotFound, Unreadable, UsageError
from transforms.storage import bucket_names
from transforms.storage.base import Stat
from transforms.storage.timed_http import TimedAdapter

_CONNECTIONS = 64  # number of threads that can keep a connection each

_LOGIN = "run `gcloud auth application-default login`, or attach a service account to the machine"

_lock = threading.Lock()
_client: Any = None


def client() -> Any:
    """Return the ``google.cloud.storage.Client`` of this process. Raises NoCredentials."""
    global _client
    with _lock:
        if _client is None:
            try:
                new = storage.Client(project=None)  # reading and writing objects needs no project
            except auth_exceptions.DefaultCredentialsError as exc:
                raise NoCredentials(f"gs:// needs credentials and there are none: {_LOGIN} ({exc})") from exc
            session = new._http
            if not session.is_mtls:  # with mTLS, it has an adapter of its own with the certificate
                adapter = TimedAdapter(pool_maxsize=_CONNECTIONS)
                session.mount("https://", adapter)
                session.mount("http://", adapter)
            session.hooks["response"].append(_check_body)
            _client = new
        return _client


def _check_body(response: Any, *, stream: bool = False, **_: Any) -> None:
    # The library does not read the body of a failed download, so its connection could not be used again.
    if response.status_code >= 400:
        _ = response.content
    # The library takes an empty body for a valid answer, and fails later.
    elif response.request.method == "GET" and not stream and not response.content:
        raise requests.ConnectionError("the body of the response is empty", request=response.request)


def is_transient(error: Exception) -> bool:
    """Return whether a request can be repeated: the library's own rule, or a response that is not valid JSON."""
    return isinstance(error, requests.JSONDecodeError) or DEFAULT_RETRY._predicate(error)


def close() -> None:
    """Close all connections of this process. The next request creates a client from the environment at that time."""
    global _client
    with _lock:
        if _client is not None:
            _client.close()
            _client = None


def _after_fork() -> None:
    # Connections must not be shared with the parent. Its other threads do not exist here and cannot release the lock.
    global _client, _lock
    _client, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def bucket_of(uri: str) -> tuple[Any, str]:
    """Return the bucket of a URI and the name in it. Raises NotFound for names that no object can have."""
    bucket, name = bucket_names.split(uri)
    connection = client()
    try:
        name.encode()
        return connection.bucket(bucket), name
    except ValueError as exc:
        raise NotFound(f"{uri!r} is not a valid name: {exc}") from exc


def blob_of(uri: str, version: str | None = None) -> Any:
    """Return the ``Blob`` of a URI, for one generation or the current one. Sends no request."""
    bucket_names.require_object(uri)
    bucket, name = bucket_of(uri)
    if version is not None and not version.isdecimal():
        raise Changed(f"{uri}: version {version!r} is not a generation of an object")
    return bucket.blob(name, generation=None if version is None else int(version))


def stat_of(uri: str, blob: Any) -> Stat:
    """Return what the metadata of an object says. Raises Unreadable if they are damaged."""
    try:
        return Stat(uri, int(blob.size), str(int(blob.generation)))
    except (TypeError, ValueError) as exc:
        raise Unreadable(f"{uri}: the response has no valid size and generation: {exc}", retryable=True) from exc


@contextmanager
def reading(uri: str, role: str = "roles/storage.objectViewer") -> Iterator[None]:
    """Convert errors of a request, after its retries, to NotFound, Unreadable or NoCredentials."""
    try:
        yield
    except exceptions.NotFound as exc:
        bucket = uri.split("/")[2]
        raise NotFound(f"there is no {uri}: no such object, or no bucket gs://{bucket}") from exc
    except (exceptions.Unauthorized, exceptions.Forbidden) as exc:
        # Granting the role does not change the image, so the next run retries.
        remedy = f"give the account of this process {role} on the bucket"
        raise Unreadable(f"{uri}: {remedy} ({exc})", retryable=True, answered=True) from exc
    except auth_exceptions.GoogleAuthError as exc:
        if exc.retryable or isinstance(exc, auth_exceptions.TransportError):
            raise Unreadable(f"{uri}: no access token is available ({exc})", retryable=True) from exc
        raise NoCredentials(f"{uri}: the credentials are refused: {_LOGIN} ({exc})") from exc
    except (exceptions.ClientError, exceptions.ServerError, exceptions.RetryError) as exc:
        transient = not isinstance(exc, exceptions.ClientError) or exc.code in (408, 429)
        raise Unreadable(f"{uri}: {exc}", retryable=transient) from exc
    except (OSError, urllib3.exceptions.HTTPError, DataCorruption) as exc:
        answered = isinstance(exc, DataCorruption)
        raise Unreadable(f"{uri}: {type(exc).__name__}: {exc}", retryable=True, answered=answered) from exc


@contextmanager
def writing(uri: str) -> Iterator[None]:
    """Convert errors as ``reading`` does, and permanent ones to UsageError: a run cannot go on without its output."""
    try:
        with reading(uri, "roles/storage.objectUser"):
            yield
    except FetchError as exc:
        refused = isinstance(exc.__cause__, exceptions.Unauthorized | exceptions.Forbidden)
        if exc.retryable and not refused:
            raise
        raise UsageError(f"cannot write {uri}: {exc}") from exc
