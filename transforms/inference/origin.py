"""Where models come from: TF-Hub, Kaggle, a folder or archive on a disk or gs:// -> a SavedModel on this disk."""

from __future__ import annotations

import re
import socket
import tarfile
import urllib.error
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transforms.errors import FetchError, ModelError
from transforms.inference import bundle
from transforms.storage import files

TIMEOUT = 60.0

_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_KAGGLE = re.compile(r"(?P<model>[\w-]+/[\w-]+)/tensorflow2/(?P<variation>[\w.-]+)/(?P<version>\d+)", re.IGNORECASE)


def saved_model(source: str, scratch: Path, timeout: float = TIMEOUT) -> Path:
    """A model's source -> the folder of its SavedModel, below ``scratch`` or where it lies on this disk.

    source: a TF-Hub or Kaggle URL, a Kaggle handle ``owner/model/tensorflow2/variation/version``, a SavedModel folder
    or a .tar.gz of one, on a disk or gs://. timeout: seconds that a server may stay silent. Raises ModelError.
    """
    if source.endswith(".xml"):
        raise ModelError(f"{source} is an OpenVINO IR, and this version runs SavedModels only; give the SavedModel")
    if source.startswith(("https://", "http://")):
        return _whole(_from_hub(source, timeout), source)
    handle = _KAGGLE.fullmatch(source)
    if handle and not Path(source).exists():
        return _whole(_from_hub(kaggle_url(handle), timeout), source)
    try:
        if source.endswith(_ARCHIVES):
            return _whole(_from_archive(source, scratch), source)
        if files.is_local(source):
            return _whole(Path(files.absolute(source).removeprefix("file://")), source)
        return _whole(_from_remote_folder(source, scratch), source)
    except FetchError as error:
        raise ModelError(f"{source} cannot be read: {error}") from error


def kaggle_url(handle: re.Match[str]) -> str:
    """A Kaggle handle -> the URL under which its files are had, as TF-Hub's redirects write it."""
    return (
        f"https://www.kaggle.com/models/{handle['model']}/frameworks/TensorFlow2/variations/{handle['variation']}"
        f"/versions/{handle['version']}"
    )


def _from_hub(url: str, timeout: float) -> Path:
    """tensorflow-hub downloads, unpacks and keeps what it got, under a lock against the machine's other processes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on pkg_resources, which it imports
        import tensorflow_hub
    try:
        with _socket_timeout(timeout):
            return Path(tensorflow_hub.resolve(url))
    except urllib.error.HTTPError as error:
        error.close()
        remedy = (
            "Kaggle, where TF-Hub's models live now, refuses some networks: download the archive in a browser and "
            "stage the .tar.gz"
            if error.code in (401, 403)
            else "check the address in a browser"
        )
        raise ModelError(f"{url} answers {error.code} {error.reason}; {remedy}") from error
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ModelError(
            f"{url} cannot be downloaded ({_reason(error)}); check the network, or stage a SavedModel folder or "
            ".tar.gz that was downloaded elsewhere"
        ) from error


def _reason(error: BaseException) -> str:
    return str(getattr(error, "reason", None) or error or type(error).__name__)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """tensorflow-hub sets no timeout of its own, and a dropped connection would hang for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _from_archive(source: str, scratch: Path) -> Path:
    folder = scratch / "unpacked"
    try:
        with files.open(source) as stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ModelError(f"{source} cannot be unpacked ({error}); is it a whole .tar.gz?") from error
    roots = sorted(path.parent for path in folder.rglob("saved_model.pb"))
    return roots[0] if roots else folder


def _from_remote_folder(source: str, scratch: Path) -> Path:
    prefix = source.rstrip("/") + "/"
    paths = [stat.uri.removeprefix(prefix) for stat in files.walk(prefix)]
    folder = scratch / "downloaded"
    bundle.download(prefix, paths, folder)
    return folder


def _whole(folder: Path, source: str) -> Path:
    """Raises ModelError where files of the SavedModel are missing: a download that was cut off leaves such a folder."""
    lacking = [] if (folder / "saved_model.pb").is_file() else ["saved_model.pb"]
    index = (folder / "variables" / "variables.index").is_file()
    shards = sorted((folder / "variables").glob("variables.data-*-of-*"))
    if index or shards:
        expected = int(shards[0].name.rpartition("-")[2]) if shards else 1
        if len(shards) < expected:
            lacking.append(f"{expected - len(shards)} of {expected} variables/variables.data-*")
        if not index:
            lacking.append("variables/variables.index")
    if lacking:
        raise ModelError(
            f"{source} is no whole SavedModel: {folder} lacks {', '.join(lacking)}; if it was a download that was cut "
            "off, remove that folder and try again"
        )
    return folder
