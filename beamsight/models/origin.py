"""Where models come from: TF-Hub, Kaggle, folders, archives, IR files -> a model's files on this disk."""

from __future__ import annotations

import http.client
import re
import socket
import tarfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

from beamsight.models.options import TIMEOUT
from transforms.errors import FetchError, ModelError
from transforms.inference import bundle
from transforms.inference.tensorflow_import import tensorflow
from transforms.storage import files, local

_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_KAGGLE = re.compile(r"(?P<model>[\w-]+/[\w-]+)/tensorflow2/(?P<variation>[\w.-]+)/(?P<version>\d+)", re.IGNORECASE)


def fetch(source: str, scratch: Path, timeout: float = TIMEOUT) -> Path:
    """A model's source -> its SavedModel's folder or its IR's ``.xml``, in ``scratch`` or where it lies on this disk.

    source: a TF-Hub or Kaggle URL, a Kaggle handle ``owner/model/tensorflow2/variation/version``, a SavedModel folder
    or a .tar.gz of one, or the ``.xml`` of an IR with its ``.bin`` beside it, on a disk or gs://.
    timeout: seconds that a server may stay silent. Raises ModelError.
    """
    try:
        if source.endswith(".xml"):
            return _ir(source, scratch)
        if url := _url(source):
            folder = _from_hub(url, timeout)
        elif source.endswith(_ARCHIVES):
            folder = _from_archive(source, scratch)
        elif files.is_local(source):
            folder = Path(local.path_of(files.absolute(source)))
            if not folder.is_dir():
                raise ModelError(f"{source} is no folder; {remedy(source, folder)}")
        else:
            folder = _from_remote_folder(source, scratch)
    except FetchError as error:
        raise ModelError(f"{source} cannot be read: {error}") from error
    lacking = _lacking(folder)
    if lacking:
        raise ModelError(f"{source} is no whole SavedModel: it lacks {', '.join(lacking)}; {remedy(source, folder)}")
    return folder


def remedy(source: str, model: Path) -> str:
    """What to do where the files of ``source``, which ``fetch`` put at ``model``, are no model that works."""
    if model.suffix == ".xml":
        return "give the .xml of an image model's IR, with its .bin beside it"
    if _url(source):
        return f"if its download was cut off, remove {model} and stage it again"
    return "give a whole SavedModel: a folder with saved_model.pb in it, or a .tar.gz of one"


def _url(source: str) -> str | None:
    """Where a model that is published on the web is had; None for files of one's own."""
    if source.startswith(("https://", "http://")):
        return source
    handle = _KAGGLE.fullmatch(source)
    return kaggle_url(handle) if handle and not Path(source).exists() else None


def kaggle_url(handle: re.Match[str]) -> str:
    """A Kaggle handle -> the URL under which its files are had, as TF-Hub's redirects write it."""
    return (
        f"https://www.kaggle.com/models/{handle['model']}/frameworks/TensorFlow2/variations/{handle['variation']}"
        f"/versions/{handle['version']}"
    )


def _from_hub(url: str, timeout: float) -> Path:
    """tensorflow-hub downloads, unpacks and keeps what it got, under a lock against the machine's other processes."""
    tf = tensorflow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on pkg_resources, which it imports
        import tensorflow_hub
    try:
        with _socket_timeout(timeout):
            return Path(tensorflow_hub.resolve(url))
    except HTTPError as error:
        error.close()
        remedy = (
            "Kaggle, where TF-Hub's models live now, refuses some networks: download the archive in a browser and "
            "stage the .tar.gz"
            if error.code in (401, 403)
            else "check the address in a browser"
        )
        raise ModelError(f"{url} answers {error.code} {error.reason}; {remedy}") from error
    except (OSError, EOFError, ValueError, http.client.HTTPException, tarfile.TarError, tf.errors.OpError) as error:
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
    folder.mkdir(exist_ok=True)
    try:
        with files.open(source) as stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
            archive.extractall(folder, filter="data")
    except tarfile.FilterError as error:
        raise ModelError(f"{source} holds what must not be unpacked ({error}); do not trust it") from error
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ModelError(f"{source} cannot be unpacked ({error}); is it a whole .tar.gz?") from error
    roots = sorted(path.parent for path in folder.rglob("saved_model.pb"))
    if len(roots) > 1:
        names = ", ".join(str(root.relative_to(folder)) for root in roots)
        raise ModelError(f"{source} holds several SavedModels ({names}); unpack it and give the folder of one")
    return roots[0] if roots else folder


def _from_remote_folder(source: str, scratch: Path) -> Path:
    prefix = source.rstrip("/") + "/"
    paths = [stat.uri.removeprefix(prefix) for stat in files.walk(prefix)]
    folder = scratch / "downloaded"
    bundle.download(prefix, paths, folder)
    return folder


def _ir(source: str, scratch: Path) -> Path:
    """Raises ModelError where one of the two files is missing."""
    name = files.name(source).removesuffix(".xml")
    folder = files.absolute(source).removesuffix(f"{name}.xml")
    lacking = [part for part in (f"{name}.xml", f"{name}.bin") if not files.exists(files.join(folder, part))]
    if lacking:
        raise ModelError(f"{source} is no whole IR: {folder} lacks {', '.join(lacking)}; the two files belong together")
    if files.is_local(source):
        return Path(local.path_of(files.absolute(source)))
    bundle.download(folder, [f"{name}.xml", f"{name}.bin"], scratch / "ir")
    return scratch / "ir" / f"{name}.xml"


def _lacking(folder: Path) -> list[str]:
    """The files that a SavedModel lacks: a download that was cut off leaves such a folder."""
    lacking = [] if (folder / "saved_model.pb").is_file() else ["saved_model.pb"]
    index = (folder / "variables" / "variables.index").is_file()
    shards = sorted((folder / "variables").glob("variables.data-*-of-*"))
    if index or shards:
        expected = int(shards[0].name.rpartition("-")[2]) if shards else 1
        if len(shards) < expected:
            lacking.append(f"{expected - len(shards)} of {expected} variables/variables.data-*")
        if not index:
            lacking.append("variables/variables.index")
    return lacking
