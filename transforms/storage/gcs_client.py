"""The client for gs://, one in each process, and the conversion of its errors.

The first request creates the client. A forked child creates its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests.adapters
import urllib3.exceptions
from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption

from transforms.errors import FetchError, NoCredentials, NotFound, Unreadable, UsageError

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
                adapter = requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS)
                session.mount("https://", adapter)
                session.mount("http://", adapter)
            session.hooks["response"].append(_finish_refusal)
            _client = new
        return _client


def _finish_refusal(response: Any, **_: Any) -> None:
    # The library does not read the body of a failed download, so its connection could not be used again.
    if response.status_code >= 400:
        _ = response.content


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
