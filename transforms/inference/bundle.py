"""Read and write bundles. A bundle is a folder, local or on gs://, with a model and its description ``model.json``.

Workers load models from bundles only. A content hash over the names and hashes of its files identifies a bundle. Files
with other hashes are refused, because loading a SavedModel runs the operations in its graph.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from transforms.errors import FetchError, ModelError, NotFound, UsageError
from transforms.inference import labels
from transforms.inference.spec import ModelSpec, Precision
from transforms.storage import files, local

MODEL_JSON = "model.json"
SAVED_MODEL = "saved_model"
LABELS = "labels.txt"
OPENVINO = "openvino"  # f32.xml and f32.bin, also for bf16; int8.xml and int8.bin for a quantized model

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Bundle:
    """The content of ``model.json``.

    Attributes:
        spec: The specification of the model.
        source: The origin of the model as the user wrote it.
        files: The sha256 (64 hex digits) of each file by its path in the bundle.
        made_with: Versions of the software that staged the model.
        checks: Measurements of the conversions of the model by precision, see ``conversion.agreement``.
    """

    spec: ModelSpec
    source: str
    files: dict[str, str]
    made_with: dict[str, str]
    checks: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """Return 64 hex digits over the names and hashes of the staged files, without the converted forms.

        So the version of a converter does not change the hash of a model.
        """
        converted = f"{OPENVINO}/" if self.has_saved_model else f"{OPENVINO}/int8."
        return _hash({path: digest for path, digest in self.files.items() if not path.startswith(converted)})

    @property
    def files_hash(self) -> str:
        """Return 64 hex digits over the names and hashes of all files."""
        return _hash(self.files)

    @property
    def has_saved_model(self) -> bool:
        """Return whether the bundle has a SavedModel, which TensorFlow needs."""
        return any(path.startswith(f"{SAVED_MODEL}/") for path in self.files)

    def ir(self, precision: Precision) -> str | None:
        """Return the path of the IR for a precision. None if the bundle does not have it."""
        path = f"{OPENVINO}/{'int8' if precision == 'int8' else 'f32'}.xml"
        return path if path in self.files else None

    def only(self, form: str) -> Bundle:
        """Return the bundle without the files of the other form. ``form`` is ``SAVED_MODEL`` or ``OPENVINO``."""
        other = {SAVED_MODEL: OPENVINO, OPENVINO: SAVED_MODEL}[form]
        return replace(
            self, files={path: digest for path, digest in self.files.items() if not path.startswith(f"{other}/")}
        )

    def quantized_hash(self) -> str:
        """Return 64 hex digits over the int8 form, which depends on the images of its calibration."""
        return _hash({path: digest for path, digest in self.files.items() if path.startswith(f"{OPENVINO}/int8.")})

    def to_json(self) -> str:
        """Return the text of ``model.json``."""
        values = {
            "format": _FORMAT,
            **asdict(self),
            "spec": self.spec.to_json(),
            "content_hash": self.content_hash,
        }
        return json.dumps(values | {"hash": _hash_of_json(values)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, uri: str) -> Bundle:
        """Parse the text of ``model.json``. Raises ModelError if it is invalid, was changed, or has another format.

        Its ``hash`` covers everything else in it. Bundles of earlier versions have none.
        """
        try:
            values = json.loads(text)
            version = values["format"]
            if version != _FORMAT:
                raise ModelError(f"bundle format {version} is not supported, only {_FORMAT} is; stage the model again")
            spec = ModelSpec.from_json(values["spec"])
            bundle = cls(spec, values["source"], values["files"], values["made_with"], values["checks"])
            expected, actual = values["content_hash"], bundle.content_hash
            own_hash = values.pop("hash", None)
        except UsageError as error:
            raise ModelError(f"{uri}: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{uri} is not a complete {MODEL_JSON} ({error!r}); stage the model again") from error
        _require(actual, expected, uri)
        if own_hash is not None:
            _require(_hash_of_json(values), own_hash, uri)
        return bundle


def read(uri: str) -> Bundle:
    """Read the description of the bundle in a folder. Raises ModelError if there is no bundle."""
    path = files.join(uri, MODEL_JSON)
    if files.is_web(uri):
        raise ModelError(f"{uri} is not a bundle, which is a folder on a disk or in a bucket; copy its files to one")
    try:
        data, _ = files.read(path)
    except NotFound as error:
        raise ModelError(
            f"{uri} is not a bundle: there is no {path}; create a bundle with `beamsight models stage`"
        ) from error
    except FetchError as error:
        raise ModelError(f"bundle {uri} cannot be read: {error}") from error
    return Bundle.from_json(data, path)


def write(bundle: Bundle, folder: Path, to: str) -> None:
    """Copy the files of ``bundle`` from a local folder to ``to``. The bundle becomes visible when it is complete.

    ``model.json`` is written last. The next upload overwrites the files of a killed upload.
    """
    for path in sorted(bundle.files):
        files.write(files.join(to, path), (folder / path).read_bytes())
    files.write(files.join(to, MODEL_JSON), bundle.to_json().encode())


def localize(uri: str, content_hash: str, *, quantized: str | None = None, form: str | None = None) -> Path:
    """Return the local folder of a bundle.

    A local bundle is used in place. A bundle on gs:// is copied once to each machine, under a lock between processes,
    and the hashes of its files are verified.

    Args:
        uri: The bundle.
        content_hash: The expected content hash.
        quantized: The expected hash of the int8 form. None if it is not used.
        form: ``SAVED_MODEL`` or ``OPENVINO`` to copy only this form. None for all files.

    Raises:
        ModelError: There is no such bundle, it cannot be read, or a hash differs.
    """
    bundle = read(uri)
    _require(bundle.content_hash, content_hash, uri)
    if quantized is not None:
        _require(bundle.quantized_hash(), quantized, f"{uri}, int8")
    if files.is_local(uri):
        return Path(local.path_of(uri))
    if form is not None:
        bundle = bundle.only(form)
    target = cache_dir() / "bundles" / bundle.files_hash
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                copy = Path(scratch, "bundle")
                try:
                    download(uri, sorted(bundle.files), copy)
                except FetchError as error:
                    raise ModelError(f"bundle {uri} cannot be copied to this machine: {error}") from error
                verify(copy, bundle, uri)
                copy.rename(target)
    return target


def download(uri: str, paths: list[str], to: Path) -> None:
    """Copy files from the folder ``uri`` to a local folder, in pieces."""
    for path in paths:
        target = to / path
        if ".." in target.parts or not target.is_relative_to(to):
            raise ModelError(f"{uri} names the file {path!r} outside its own folder; do not trust this bundle")
        target.parent.mkdir(parents=True, exist_ok=True)
        with files.open(files.join(uri, path)) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)


def verify(folder: Path, bundle: Bundle, uri: str | None = None) -> None:
    """Verify that all files of a bundle exist and have the hashes in ``model.json``.

    Args:
        folder: The local folder of the bundle.
        bundle: The description of the bundle.
        uri: The name of the bundle in messages. None for ``folder``.

    Raises:
        ModelError: A file is missing or has another hash.
    """
    uri = uri or str(folder)
    for path in bundle.files:
        if not (folder / path).is_file():
            raise ModelError(f"bundle {uri} lacks {path}; stage the model again")
    with ThreadPoolExecutor() as pool:
        for path, actual in zip(bundle.files, pool.map(sha256, map(folder.joinpath, bundle.files)), strict=True):
            _require(actual, bundle.files[path], files.join(uri, path))


def sha256(path: Path) -> str:
    """Return 64 hex digits over the bytes of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while piece := source.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def cache_dir() -> Path:
    """Return the folder of bundles and compiled models: $BEAMSIGHT_CACHE, or ``beamsight`` in the user's cache."""
    if own := os.environ.get("BEAMSIGHT_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser(), "beamsight")


def load_labels(folder: Path, spec: ModelSpec) -> tuple[labels.Label, ...]:
    """Return the classes of a local bundle. An embedder has none."""
    if spec.task == "embed":
        return ()
    return labels.parse((folder / LABELS).read_text(encoding="utf-8"), str(folder / LABELS))


def _hash(digests: Mapping[str, str]) -> str:
    lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _hash_of_json(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _require(actual: str, expected: str, what: str) -> None:
    if actual != expected:
        raise ModelError(
            f"{what}: its hash is {actual[:16]}…, but {expected[:16]}… is expected; it was changed or damaged; "
            "stage the model again"
        )
