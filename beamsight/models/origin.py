"""Fetch models from TF-Hub, Kaggle, folders, archives and IR files to this disk."""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
import tarfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

from beamsight.models import downloads
from beamsight.models.downloads import Report
from beamsight.models.options import TIMEOUT
from transforms.errors import FetchError, ModelError
from transforms.inference import bundle
from transforms.inference.libraries import tensorflow
from transforms.storage import files, local

_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_KAGGLE = re.compile(r"(?P<model>[\w-]+/[\w-]+)/tensorflow2/(?P<variation>[\w.-]+)/(?P<version>\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Download:
    """What is known of a model before it is downloaded, for messages. size_mb: None where it is unknown."""

    name: str = "the model"
    size_mb: float | None = None


def fetch(
    source: str,
    scratch: Path,
    timeout: float = TIMEOUT,
    report: Report = downloads.ignore,
    download: Download = Download(),
) -> Path:
    """Return the folder of a SavedModel, or the ``.xml`` of an IR, on this disk.

    Args:
        source: A TF-Hub or Kaggle URL, a Kaggle handle ``owner/model/tensorflow2/variation/version``, the folder of a
            SavedModel or its .tar.gz, or the ``.xml`` of an IR with its ``.bin`` beside it, on a disk or gs://.
        scratch: Folder for what is copied. Local folders and files are used in place.
        timeout: Longest silence of a server, in seconds.
        report: Receives a short line when a download or a copy starts, and the progress of a download.
        download: Name and size for these lines.

    Raises:
        ModelError: The source cannot be read, or holds no complete model.
    """
    try:
        if source.endswith(".xml"):
            return _ir(source, scratch)
        if url := _url(source):
            folder = _from_hub(url, timeout, report, download)
        elif source.endswith(_ARCHIVES):
            report(f"unpacking {source}")
            folder = _from_archive(source, scratch)
        elif files.is_local(source):
            folder = Path(local.path_of(files.absolute(source)))
            if not folder.is_dir():
                raise ModelError(f"{source} is not a folder; {remedy(source, folder)}")
        else:
            report(f"copying {source}")
            folder = _from_remote_folder(source, scratch)
    except FetchError as error:
        raise ModelError(f"{source} cannot be read: {error}") from error
    missing = _missing_files(folder)
    if missing:
        raise ModelError(
            f"{source} is not a complete SavedModel (missing: {', '.join(missing)}); {remedy(source, folder)}"
        )
    return folder


def remedy(source: str, model: Path) -> str:
    """Return what to do where a model does not work. model: the path that ``fetch`` returned."""
    if model.suffix == ".xml":
        return "pass the .xml of an image model's IR, with its .bin beside it"
    if _url(source):
        return f"if the download was cut off, remove {model} and stage the model again"
    return "pass a complete SavedModel: a folder with saved_model.pb in it, or its .tar.gz"


def _url(source: str) -> str | None:
    """Return the URL of a model that is published on the web, or None for the user's own files."""
    if source.startswith(("https://", "http://")):
        return source
    handle = _KAGGLE.fullmatch(source)
    return kaggle_url(handle) if handle and not Path(source).exists() else None


def kaggle_url(handle: re.Match[str]) -> str:
    """Return the URL of a Kaggle handle's files, in the form of TF-Hub's redirects."""
    return (
        f"https://www.kaggle.com/models/{handle['model']}/frameworks/TensorFlow2/variations/{handle['variation']}"
        f"/versions/{handle['version']}"
    )


def _from_hub(url: str, timeout: float, report: Report, download: Download) -> Path:
    """Download a model, or return it from tensorflow-hub's cache. tensorflow-hub locks out other processes."""
    tf = tensorflow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It imports pkg_resources, which is deprecated.
        import tensorflow_hub
        from tensorflow_hub import resolver
    cached = Path(resolver.tfhub_cache_dir(use_temp=True), hashlib.sha1(url.encode()).hexdigest())
    size = "" if download.size_mb is None else f" (about {download.size_mb:.0f} MB)"
    report(f"using the download in {cached}" if cached.is_dir() else f"downloading {download.name}{size} from {url}")
    try:
        with _socket_timeout(timeout), downloads.watch(cached, download.size_mb, report):
            return Path(tensorflow_hub.resolve(url))
    except HTTPError as error:
        error.close()
        remedy = (
            "Kaggle, which now hosts TF-Hub's models, refuses some networks: download the archive in a browser and "
            "stage the .tar.gz"
            if error.code in (401, 403)
            else "check the address in a browser"
        )
        raise ModelError(f"{url} answers {error.code} {error.reason}; {remedy}") from error
    except (OSError, EOFError, ValueError, http.client.HTTPException, tarfile.TarError, tf.errors.OpError) as error:
        raise ModelError(
            f"{url} cannot be downloaded ({_reason(error)}); check the network, or download the model elsewhere and "
            "stage its folder or .tar.gz"
        ) from error


def _reason(error: BaseException) -> str:
    return str(getattr(error, "reason", None) or error or type(error).__name__)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Set a timeout on new sockets. tensorflow-hub sets none, and a dropped connection would hang forever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _from_archive(source: str, scratch: Path) -> Path:
    folder = scratch / "unpacked"
    folder.mkdir(exist_ok=True)
    try:
        with files.open(source) as stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
            archive.extractall(folder, filter="data")
    except tarfile.FilterError as error:
        raise ModelError(f"{source} holds a file that must not be unpacked ({error}); do not trust it") from error
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ModelError(f"{source} cannot be unpacked ({error}); check that the .tar.gz is complete") from error
    roots = sorted(path.parent for path in folder.rglob("saved_model.pb"))
    if len(roots) > 1:
        names = ", ".join(str(root.relative_to(folder)) for root in roots)
        raise ModelError(f"{source} holds several SavedModels ({names}); unpack it and pass the folder of one")
    return roots[0] if roots else folder


def _from_remote_folder(source: str, scratch: Path) -> Path:
    prefix = source.rstrip("/") + "/"
    paths = [stat.uri.removeprefix(prefix) for stat in files.walk(prefix)]
    folder = scratch / "downloaded"
    bundle.download(prefix, paths, folder)
    return folder


def _ir(source: str, scratch: Path) -> Path:
    """Return the ``.xml`` of an IR on this disk. Raises ModelError where the ``.xml`` or the ``.bin`` is missing."""
    name = files.name(source).removesuffix(".xml")
    folder = files.absolute(source).removesuffix(f"{name}.xml")
    missing = [part for part in (f"{name}.xml", f"{name}.bin") if not files.exists(files.join(folder, part))]
    if missing:
        raise ModelError(
            f"{source} is not a complete IR (missing in {folder}: {', '.join(missing)}); put both files there"
        )
    if files.is_local(source):
        return Path(local.path_of(files.absolute(source)))
    bundle.download(folder, [f"{name}.xml", f"{name}.bin"], scratch / "ir")
    return scratch / "ir" / f"{name}.xml"


def _missing_files(folder: Path) -> list[str]:
    """Return the files that are missing in a SavedModel. A download that was cut off leaves such a folder."""
    missing = [] if (folder / "saved_model.pb").is_file() else ["saved_model.pb"]
    index = (folder / "variables" / "variables.index").is_file()
    shards = sorted((folder / "variables").glob("variables.data-*-of-*"))
    if index or shards:
        expected = int(shards[0].name.rpartition("-")[2]) if shards else 1
        if len(shards) < expected:
            missing.append(f"{expected - len(shards)} of {expected} variables/variables.data-*")
        if not index:
            missing.append("variables/variables.index")
    return missing
